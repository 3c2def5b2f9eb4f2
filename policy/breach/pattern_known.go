package breach

import "strings"

// known is a name that devices and apps ask for by themselves, with all below it.
type known struct {
	suffix string // with its final dot
	what   string
}

// backgrounds are names behind which is nothing that a person could want to see, whatever category a list puts them
// in: each is one company's own, so that nobody else's content is below it. Short on purpose. What is missing
// here leaves an incident unclear, what should not be here hides one.
//
// They are the companies' own well-known endpoints, written down from general knowledge; who adds one checks it with
// what the company says of it.
var backgrounds = [...]known{
	{"events.data.microsoft.com.", "Windows and Office report how they are used"},
	{"vortex.data.microsoft.com.", "Windows reports how it is used"},
	{"vortex-win.data.microsoft.com.", "Windows reports how it is used"},
	{"settings-win.data.microsoft.com.", "Windows fetches its settings"},
	{"telemetry.microsoft.com.", "Windows reports how it is used"},
	{"windowsupdate.com.", "Windows updates itself"},
	{"update.microsoft.com.", "Windows updates itself"},
	{"metrics.icloud.com.", "iPads, iPhones and Macs report how they are used"},
	{"xp.apple.com.", "Apple's apps report how they are used"},
	{"iadsdk.apple.com.", "adverts in apps on iPads and iPhones"},
	{"incoming.telemetry.mozilla.org.", "Firefox reports how it is used"},
	{"app-measurement.com.", "apps report how they are used"},
	{"firebaselogging.googleapis.com.", "apps report how they are used"},
	{"firebaselogging-pa.googleapis.com.", "apps report how they are used"},
	{"crashlytics.com.", "apps report that they have crashed"},
	{"google-analytics.com.", "pages count their visitors"},
	{"doubleclick.net.", "adverts in pages and apps"},
	{"googlesyndication.com.", "adverts in pages and apps"},
	{"unityads.unity3d.com.", "adverts in games"},
	{"applovin.com.", "adverts in games"},
	{"adjust.com.", "apps count where they were installed from"},
	{"appsflyer.com.", "apps count where they were installed from"},
}

// knownBackground returns what is known of a name, which has its final dot; nil: nothing.
func knownBackground(name string) *known {
	name = strings.ToLower(name)
	for i, k := range backgrounds {
		if above, found := strings.CutSuffix(name, k.suffix); found && (above == "" || strings.HasSuffix(above, ".")) {
			return &backgrounds[i]
		}
	}
	return nil
}
