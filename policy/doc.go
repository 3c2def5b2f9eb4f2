// Package policy decides what becomes of a query: who asks, for which name, at what moment. In the
// terms of access control it is the decision point; package resolver enforces.
//
// A Policy does no I/O and knows no clock: each decision is told the moment. What a moment changes, the
// masks of the groups by their schedules, is found once at each boundary, not at each query (schedule.go); between
// two boundaries a Policy does not change. A decision is a few look-ups and a mask
// over the categories of the name: it allocates nothing and takes no lock. The order, of which the
// first that says something final ends the decision:
//
//  1. Access. An address that may not ask is refused.
//  2. Locked categories. Blocked for everybody; nothing below lifts it.
//  3. Local records, then forwarded zones: answered, unfiltered. A zone that is closed to the
//     group does not exist for it.
//  4. Special names (RFC 6761, RFC 6303, RFC 9462, the canaries of browsers and relays).
//  5. Until every required list has been loaded once: not ready. Then help lines, which pass; then
//     the exceptions in force, then the rules: of each those for this client, then those for the group, then
//     those for everybody, and of each the longest name. A block is final, an allow skips 6 and 7.
//  6. Only. Where the group has an allow-list, what is outside it is blocked.
//  7. Categories. If any is blocked for the group at this moment, the most severe names the breach (ties: the
//     file's order). Else, if any is monitored, the query goes on and is recorded. Else, if a list on
//     trial has the name, of a category that is blocked or monitored for the group, the query goes on
//     and is recorded under that category, with the severity and title of the trial.
//  8. Safe search: the question of an engine is answered with its safe form, whatever 5 allowed.
//  9. The answer is looked up, and each CNAME, DNAME, SVCB target and address in it passes 2, the
//     rules of 5, and 7. An allow of the question, or of the target, skips 7. What is monitored goes
//     before what was hit on trial only.
//
// A rule for a group holds for the groups that inherit from it, unless a rule for the heir names the
// same name.
package policy
