package feed

import "schoolgate/blocklist"

// collections are the lists of the catalogue, under the names that their publishers gave the files, so
// that their manuals can be read beside ours.
//
// Left out are lists of sites to let through, lists of whole top-level domains, which a blocklist here
// never blocks, lists of web addresses with paths, which DNS cannot act on, and lists whose terms a
// school could not keep.
func collections() []collection {
	return []collection{
		ut1(),
		hagezi(),
		blockListProject(),
		{
			name: "stevenblack", url: "https://raw.githubusercontent.com/StevenBlack/hosts/master/*",
			format: blocklist.FormatHosts, licence: "MIT",
			lists: []entry{
				{"unified", "Advertising and malware", "Steven Black's base list of advertising, tracking and malware hosts, merged from several sources.", "hosts"},
				{"fakenews", "Fake news", "Sites that pass off made-up stories as news.", "alternates/fakenews-only/hosts"},
				{"gambling", "Gambling", "Betting and casino sites.", "alternates/gambling-only/hosts"},
				{"porn", "Pornography", "Pornographic sites, merged from several lists, Sinfonietta's among them.", "alternates/porn-only/hosts"},
				{"social", "Social networks", "Hosts of the large social networks.", "alternates/social-only/hosts"},
			},
		},
		{
			name: "sinfonietta", url: "https://raw.githubusercontent.com/Sinfonietta/hostfiles/master/*-hosts",
			format: blocklist.FormatHosts, licence: "MIT",
			lists: []entry{
				{"gambling", "Gambling", "Betting and casino sites; small and seldom changed.", ""},
				{"pornography", "Pornography", "Pornographic sites, some 60,000 hosts.", ""},
				{"snuff", "Gore", "A few dozen sites with pictures of real violence and death.", ""},
				{"social", "Social networks", "Hosts of the large social networks.", ""},
			},
		},
		{
			name: "oisd", url: "https://*.oisd.nl/domainswild",
			format: blocklist.FormatWildcard, licence: "GPL-3.0",
			lists: []entry{
				{"big", "Advertising, tracking and malware", "Advertising, tracking, phishing and malware, kept so that nothing people use breaks.", ""},
				{"nsfw", "Pornography", "Adult and shock sites, several hundred thousand.", ""},
				{"nsfw-small", "Pornography, small", "The best known adult sites of oisd:nsfw.", ""},
				{"small", "Advertising, small", "Mostly advertising: the part of oisd:big that is met most.", ""},
			},
		},
		{
			name: "ipfire", url: "https://dbl.ipfire.org/lists/*/domains.txt",
			format: blocklist.FormatDomains, licence: "CC-BY-SA-4.0",
			lists: []entry{
				{"ads", "Advertising", "Advertising and tracking.", ""},
				{"dating", "Dating", "Dating sites.", ""},
				{"doh", "Encrypted DNS", "Servers for DNS over HTTPS.", ""},
				{"gambling", "Gambling", "Betting and casino sites.", ""},
				{"games", "Games", "Sites with games and about games.", ""},
				{"malware", "Malware", "Sites that spread or steer malware.", ""},
				{"phishing", "Phishing", "Sites that pass themselves off as others to get at passwords.", ""},
				{"piracy", "Piracy", "Sites that offer films, music and software without a licence.", ""},
				{"porn", "Pornography", "Pornographic sites.", ""},
				{"shopping", "Shopping", "Online shops.", ""},
				{"smart-tv", "Television sets", "Hosts to which television sets report what is watched.", ""},
				{"social", "Social networks", "Social networks.", ""},
				{"streaming", "Streaming", "Sites that stream films, series and music.", ""},
				{"violence", "Violence", "Sites that show or call for violence.", ""},
			},
		},
		{
			name: "abusech", url: "https://*.abuse.ch/downloads/hostfile/",
			format: blocklist.FormatHosts, licence: "abuse.ch terms of use: not-for-profit use",
			lists: []entry{
				{"threatfox", "Malware", "Hosts that ThreatFox saw in use by malware in the last months.", ""},
				{"urlhaus", "Malware", "Hosts that spread malware at this moment, after URLhaus; a few hundred, soon out of date.", ""},
			},
		},
		{
			name: "phishingarmy", url: "https://phishing.army/download/phishing_army_*.txt",
			format: blocklist.FormatDomains, licence: "CC-BY-NC-4.0",
			lists: []entry{
				{"blocklist", "Phishing", "Phishing sites after PhishTank, OpenPhish and others.", ""},
			},
		},
		{
			name: "phishingdatabase", url: "https://raw.githubusercontent.com/Phishing-Database/Phishing.Database/refs/heads/master/phishing-domains-*.txt",
			format: blocklist.FormatDomains, licence: "MIT",
			lists: []entry{
				{"active", "Phishing", "Phishing sites that answered when they were last tested, some hundred thousand.", "ACTIVE"},
			},
		},
	}
}

func ut1() collection {
	return collection{
		name: "ut1", url: "https://dsi.ut-capitole.fr/blacklists/download/*.tar.gz", member: "*/domains",
		format: blocklist.FormatDomains, licence: "CC-BY-SA-4.0",
		lists: []entry{
			{"adult", "Pornography", "Adult sites from erotic to hard pornography, more than four million: the largest list that is kept up.", ""},
			{"agressif", "Hate", "Racist and antisemitic sites, and others that stir up hatred.", ""},
			{"ai", "Artificial intelligence", "Chat bots and other services with generative artificial intelligence.", ""},
			{"arjel", "Licensed betting", "Betting sites with a French licence.", ""},
			{"astrology", "Astrology", "Astrology and fortune telling.", ""},
			{"audio-video", "Audio and video", "Sites with music and films.", ""},
			{"bitcoin", "Cryptocurrency", "Mining and trading of bitcoin.", ""},
			{"blog", "Blogs", "Hosts of blogs.", ""},
			{"celebrity", "Celebrities", "News and gossip about well-known people.", ""},
			{"chat", "Chat", "Chat rooms and messengers, Teams, Slack and the like among them.", ""},
			{"cooking", "Cooking", "Recipes and cookery.", ""},
			{"cryptojacking", "Cryptojacking", "Pages that mine cryptocurrency with the visitor's computer.", ""},
			{"dangerous_material", "Dangerous material", "Directions for bombs, poisons and other dangerous things.", ""},
			{"dating", "Dating", "Dating and matchmaking sites.", ""},
			{"ddos", "Denial of service", "Services that overload others' sites for money.", ""},
			{"dialer", "Diallers", "Programs that dial expensive numbers.", ""},
			{"doh", "Encrypted DNS", "Servers for DNS over HTTPS.", ""},
			{"download", "Downloads", "Sites that offer software.", ""},
			{"drogue", "Drugs", "Sites about drugs: those that sell them, and some that warn of them.", ""},
			{"dynamic-dns", "Dynamic DNS", "Providers of names for changing addresses, with all names below them.", ""},
			{"fakenews", "Fake news", "Sites that spread made-up news.", ""},
			{"filehosting", "File hosting", "Sites where anybody can leave pictures, films and other files.", ""},
			{"financial", "Finance", "Stock exchanges and financial news.", ""},
			{"forums", "Forums", "Discussion forums.", ""},
			{"gambling", "Gambling", "Casinos, betting and lotteries.", ""},
			{"games", "Games", "Games to play online or to download, and sites about them, educational ones among them.", ""},
			{"hacking", "Hacking", "Tools and directions for breaking into computers.", ""},
			{"jobsearch", "Job search", "Job boards and recruiters.", ""},
			{"lingerie", "Lingerie", "Shops for underwear.", ""},
			{"malware", "Malware", "Sites that spread malware.", ""},
			{"manga", "Manga", "Manga, anime and comics.", ""},
			{"marketingware", "Pushy marketing", "A few sites with marketing of a doubtful kind.", ""},
			{"mixed_adult", "Partly adult", "Sites with adult parts that cannot be told apart by name.", ""},
			{"mobile-phone", "Mobile phones", "Ring tones and other things for phones.", ""},
			{"phishing", "Phishing", "Sites that pass themselves off as others; mostly the same as ut1:malware.", ""},
			{"press", "Press", "Newspapers and news sites.", ""},
			{"publicite", "Advertising", "Advertising.", ""},
			{"radio", "Radio", "Internet radio.", ""},
			{"reaffected", "Taken-over sites", "A few sites that changed hands, and with that their content.", ""},
			{"redirector", "Proxies", "Web proxies and others with which people get round filters; many of the entries are addresses.", ""},
			{"remote-control", "Remote control", "Programs for controlling a computer from afar.", ""},
			{"residential-proxies", "Residential proxies", "Services that lead traffic through private lines.", ""},
			{"sect", "Sects", "Sects and cults.", ""},
			{"shopping", "Shopping", "Online shops and marketplaces.", ""},
			{"shortener", "Link shorteners", "Services that hide where a link leads.", ""},
			{"social_networks", "Social networks", "Social networks.", ""},
			{"sports", "Sports", "Sports news and clubs.", ""},
			{"stalkerware", "Stalkerware", "Programs for spying on a partner, child or colleague.", ""},
			{"translation", "Translation", "Translators, through which pages can be read past a filter.", ""},
			{"tricheur", "Cheating", "Sites that say how to cheat in examinations.", ""},
			{"vpn", "VPN", "Providers of virtual private networks.", ""},
			{"warez", "Piracy", "Copies of software and films without a licence.", ""},
			{"webhosting", "Web hosting", "Hosts where anybody can put up a site.", ""},
			{"webmail", "Webmail", "Mail in the browser, that of Microsoft 365 included.", ""},
		},
	}
}

func hagezi() collection {
	return collection{
		name: "hagezi", url: "https://raw.githubusercontent.com/hagezi/dns-blocklists/main/wildcard/*-onlydomains.txt",
		format: blocklist.FormatDomains, licence: "GPL-3.0",
		lists: []entry{
			{"anti.piracy", "Piracy", "Sites and services that mostly serve unlicensed copies.", ""},
			{"doh", "Encrypted DNS", "Servers for encrypted DNS.", ""},
			{"doh-vpn-proxy-bypass", "Ways round the filter", "Servers for encrypted DNS, virtual private networks, Tor and proxies.", ""},
			{"dyndns", "Dynamic DNS", "Providers of names for changing addresses, with all names below them.", ""},
			{"fake", "Fakes and traps", "Fake shops, cost traps, fake science and other swindles.", ""},
			{"gambling", "Gambling", "Gambling sites, several hundred thousand.", ""},
			{"gambling.medium", "Gambling, medium", "The part of hagezi:gambling that is met more often.", ""},
			{"gambling.mini", "Gambling, small", "The part of hagezi:gambling that is met most.", ""},
			{"hoster", "Abused hosts", "Free hosts that also carry malware, with all that else is on them.", ""},
			{"light", "Advertising, light", "Advertising and tracking: the mildest of the general lists.", ""},
			{"multi", "Advertising, normal", "Advertising, tracking, telemetry and some malware.", ""},
			{"nosafesearch", "Search without SafeSearch", "Search engines that cannot be held to SafeSearch.", ""},
			{"nsfw", "Pornography", "Adult sites.", ""},
			{"popupads", "Pop-ups", "Annoying and malicious pop-up advertising.", ""},
			{"pro", "Advertising, extended", "Advertising, tracking and telemetry, with error reports of apps.", ""},
			{"pro.mini", "Advertising, extended, small", "The part of hagezi:pro that is met most.", ""},
			{"pro.plus", "Advertising, strict", "More than hagezi:pro; now and then something useful stops working.", ""},
			{"pro.plus.mini", "Advertising, strict, small", "The part of hagezi:pro.plus that is met most.", ""},
			{"social", "Social networks", "Social networks.", ""},
			{"tif", "Threats", "Malware, phishing, scams and spam after many threat feeds.", ""},
			{"tif.medium", "Threats, medium", "The more important feeds of hagezi:tif.", ""},
			{"tif.mini", "Threats, small", "The part of hagezi:tif that is met most.", ""},
			{"urlshortener", "Link shorteners", "Services that hide where a link leads.", ""},
		},
	}
}

func blockListProject() collection {
	return collection{
		name: "blocklistproject", url: "https://blocklistproject.github.io/Lists/alt-version/*-nl.txt",
		format: blocklist.FormatDomains, licence: "MIT",
		lists: []entry{
			{"abuse", "Deception", "Sites made to deceive.", ""},
			{"ads", "Advertising", "Advertising.", ""},
			{"crypto", "Cryptocurrency", "Cryptocurrency and cryptojacking, honest sites among them.", ""},
			{"drugs", "Drugs", "Illegal drugs and prescription drugs without one; some help lines among them.", ""},
			{"facebook", "Facebook", "Facebook and the services that belong to it.", ""},
			{"fortnite", "Fortnite", "The game Fortnite and its publisher's shop.", ""},
			{"fraud", "Fraud", "Sites made to defraud.", ""},
			{"gambling", "Gambling", "Gambling sites, legal or not.", ""},
			{"malware", "Malware", "Sites that carry malware.", ""},
			{"phishing", "Phishing", "Sites made to get at passwords.", ""},
			{"piracy", "Piracy", "Sites with unlicensed downloads.", ""},
			{"porn", "Pornography", "Pornographic sites and those that advertise them, several hundred thousand; wide, so put it on trial first.", ""},
			{"ransomware", "Ransomware", "Sites that carry ransomware.", ""},
			{"redirect", "Redirects", "Sites that lead away from where one meant to go.", ""},
			{"scam", "Scams", "Sites made to swindle.", ""},
			{"smart-tv", "Television sets", "Hosts to which television sets report and from which they get advertising.", ""},
			{"tiktok", "TikTok", "Hosts of TikTok.", ""},
			{"torrent", "Torrents", "Directories of torrents, those of free software among them.", ""},
			{"tracking", "Tracking", "Hosts that gather what visitors do.", ""},
			{"twitter", "Twitter", "Hosts of X, formerly Twitter.", ""},
			{"vaping", "Vaping", "Shops for and sites about vaping.", ""},
			{"whatsapp", "WhatsApp", "Hosts of WhatsApp.", ""},
		},
	}
}
