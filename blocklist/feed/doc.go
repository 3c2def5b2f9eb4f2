// Package feed gets the lists that others publish, keeps the last good content of each, and compiles
// them: a school's filter must not depend on somebody's web server, nor on what it serves today, and must
// start at once.
//
// # What happens when
//
// Update asks servers for lists, Load never does. What Update gets, it holds to the guard's rules and keeps as
// a copy. Load takes each list from its file, or from its copy where it is fetched, and makes the
// blocklist.Set of all. Neither does again what was done already: an unchanged file is not read, an
// unchanged group of lists not compiled, from one start to the next.
//
// # What is kept
//
// All of it is in Options.Dir, 0700, its files 0600; each is written as another file that then replaces it.
// A file that is not as it was written is refused by its checksum, logged, and made anew. Where the directory
// cannot be written, lists are served all the same.
//
//   - <source>.list is the last good text of a list from a file or a server, behind a line that says which
//     text it is. <source> is from a hash of the path, the URL or the zone.
//   - <source>.list.age is the same of a confidential list, encrypted to Options.Identity. Without that, nothing
//     of such a list is kept.
//   - <identity>.part is a compiled snapshot. Its name is a hash of all that went into it: the texts, how they
//     were read, which lists share a category, and the version of the compiler.
//   - state.json remembers by what a file was known, what servers said of a list and when they are
//     to be asked again, and when trials began. Without it everything is read once more, and trials count as ended.
//
// # Which lists are compiled together
//
//  1. The confidential ones: in memory alone, at each start.
//  2. Each list with more than 4 MB of text: by itself, so that it is not compiled again because of another.
//  3. All others.
//
// # Confidential lists
//
// Their names are on no disk in clear: neither in a copy or snapshot, nor in a temporary file. A list that
// comes encrypted with age, from a file or a server, is treated as confidential as a list can be that its
// category does not call so. Errors, logs and state.json have nothing of any list's content.
package feed
