// Package deploy holds no program. It is what puts schoolgate to work: the service unit, the
// container image, alert rules and dashboard, the documentation, and the scripts of its checks.
//
// Such files go out of date in silence, so the tests here hold each of them to the program itself:
// they build it as the Dockerfile does, run it as the unit does, and compare what the files say of
// commands, flags, configuration keys, metrics and alerts with what it really has.
package deploy
