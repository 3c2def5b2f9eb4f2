// Package report says what a school's filter did in a period, for the safeguarding lead and for governors: in plain words,
// as a page that prints, or as a table.
//
// What is counted is a device that asked for a name, not a person who visited a site. An attempt is one device that asks
// for one name, once however often it asks again within the hour; how often it asked is said beside it. Sums come from
// the record's tallies, which name nobody and outlive the breaches themselves.
//
// # The governors' form
//
// It names no child, no device and no site that was asked for, and shows no figure behind which a child may be
// recognised:
//
//   - attempts of a category, a group or a week are shown where at least five devices made them, and those of a group
//     that can have fewer devices than that never. Where just one figure of a column would be missing, the smallest
//     other one is left out too: else it could be worked out from the sum;
//   - attempts of an hour of the day are shown from five on;
//   - incidents are told to the nearest five, and fewer than five are "fewer than 5"; how long they waited is said of
//     five and more;
//   - no category is crossed with a group, and what people wrote is left out.
package report
