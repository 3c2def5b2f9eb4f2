// Package bundle writes an incident as a zip file that leaves the school: for a case system such as CPOMS or MyConcern, for
// social care, or for the police. It holds a page that prints well, for people; the data, for programs; and the
// rows' places in the chain of the record, so that it can be shown later that nothing was changed.
//
// The same case gives the same bytes. What comes from devices and people is escaped for each form: HTML, CSV cells,
// JSON. A name of a confidential category is in it only as a ciphertext, and only where the school has named somebody who
// can open it.
package bundle
