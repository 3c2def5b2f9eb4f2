// Package feed gets the lists that others publish, and keeps the last good content of each: a school's
// filter must not depend on somebody's web server, nor on what it serves today.
package feed
