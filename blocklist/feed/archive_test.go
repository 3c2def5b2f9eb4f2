package feed

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"
)

// file is a file of an archive: its path and its content.
type file struct{ name, content string }

func must(err error) {
	if err != nil {
		panic(err) // a buffer takes everything
	}
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	must(err)
	must(w.Close())
	return out.Bytes()
}

// tarred makes a tar archive. A name that ends in / is a folder, a content that begins with -> a link.
func tarred(files ...file) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(f.content))}
		if link, ok := strings.CutPrefix(f.content, "->"); ok {
			header.Typeflag, header.Linkname, header.Size = tar.TypeSymlink, link, 0
		} else if strings.HasSuffix(f.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		must(w.WriteHeader(header))
		if header.Size > 0 {
			_, err := io.WriteString(w, f.content)
			must(err)
		}
	}
	must(w.Close())
	return out.Bytes()
}

func tarGz(files ...file) []byte { return gzipped(tarred(files...)) }

// zipped makes a zip archive, with folders and links as tarred has them.
func zipped(files ...file) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		header.SetMode(0o644)
		content := f.content
		if content == "" {
			header.Method = zip.Store
		}
		if link, ok := strings.CutPrefix(content, "->"); ok {
			header.SetMode(0o777 | 1<<27) // fs.ModeSymlink
			content = link
		}
		entry, err := w.CreateHeader(header)
		must(err)
		if !strings.HasSuffix(f.name, "/") {
			_, err = io.WriteString(entry, content)
			must(err)
		}
	}
	must(w.Close())
	return out.Bytes()
}

// unpacked unpacks what a server would have sent.
func unpacked(t testing.TB, b []byte, member string) (string, error) {
	t.Helper()
	w := &wire{r: bytes.NewReader(b), sum: sha256.New(), limit: 1 << 30, total: int64(len(b))}
	var dst bytes.Buffer
	err := w.unpack(t.Context(), fetchRequest{Member: member}, newFetcher(nil).limits, &dst)
	if err == nil && w.done.Load() != int64(len(b)) {
		t.Errorf("%d of %d bytes were read", w.done.Load(), len(b))
	}
	return dst.String(), err
}

func TestAListMayBePacked(t *testing.T) {
	list := strings.Repeat(good, 5000) // more than is looked at
	ut1 := []file{{"./gambling/", ""}, {"./gambling/domains", list}, {"./gambling/urls", "example.org/x\n"}, {"./gambling/usage", "black\n"}}
	for _, tt := range []struct {
		what, member string
		body         []byte
	}{
		{"text", "", []byte(list)},
		{"gzip", "", gzipped([]byte(list))},
		{"two gzip files, one after the other", "", append(gzipped([]byte(list[:len(good)*7])), gzipped([]byte(list[len(good)*7:]))...)},
		{"gzip, compressed again by the server", "", gzipped(gzipped([]byte(list)))},
		{"tar", "", tarred(file{"list.txt", list})},
		{"tar.gz", "", tarGz(file{"list.txt", list})},
		{"tar.gz, compressed again by the server", "", gzipped(tarGz(file{"list.txt", list}))},
		{"zip", "", zipped(file{"list.txt", list})},
		{"zip, compressed by the server", "", gzipped(zipped(file{"list.txt", list}))},
		{"tar.gz of a gzip file", "", tarGz(file{"list.txt.gz", string(gzipped([]byte(list)))})},
		{"zip of a gzip file", "", zipped(file{"list.txt.gz", string(gzipped([]byte(list)))})},
		{"tar.gz of UT1, without member", "", tarGz(ut1...)},
		{"tar.gz of UT1, whole path", "gambling/domains", tarGz(ut1...)},
		{"tar.gz of UT1, below the first folder", "domains", tarGz(ut1...)},
		{"zip with domains", "", zipped(ut1...)},
		{"zip with a whole path", "gambling/domains", zipped(ut1...)},
		{"with hosts", "", tarGz(file{"a/hosts", list}, file{"a/README", "x"})},
		{"domains before hosts", "", tarGz(file{"a/hosts", "x"}, file{"a/domains", list})},
		{"the whole path before the one below a folder", "domains", tarGz(file{"a/domains", "x"}, file{"domains", list})},
		{"beside files that a Mac adds", "", zipped(file{"list.txt", list}, file{"__MACOSX/._list.txt", "x"}, file{".DS_Store", "x"})},
		{"with the backslashes of Windows", "lists/domains", zipped(file{`pack\lists\domains`, list}, file{"other", "x"})},
		{"beside a path that leads out", "", tarGz(file{"../domains", "x"}, file{"/etc/domains", "x"}, file{"domains", list})},
		{"beside a link", "", tarGz(file{"domains", "->/etc/passwd"}, file{"a/domains", list})},
		{"beside a link, in a zip", "", zipped(file{"domains", "->/etc/passwd"}, file{"a/domains", list})},
	} {
		t.Run(tt.what, func(t *testing.T) {
			if got, err := unpacked(t, tt.body, tt.member); err != nil || got != list {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

func TestAnArchiveWithoutTheListIsRefused(t *testing.T) {
	both := []file{{"a/domains", good}, {"b/domains", good}, {"c", good}}
	for _, tt := range []struct {
		what, member, err string
		files             []file
	}{
		{"only a folder", "", "archive without a file", []file{{"a/", ""}}},
		{"only a link", "", "archive without a file", []file{{"domains", "->/etc/passwd"}}},
		{"only paths that lead out", "domains", "archive without a file", []file{{"../domains", good}, {"/domains", good}, {"a/../../domains", good}}},
		{"a member that is missing", "a/domains", `archive with 2 files, and none is "a/domains" (member)`, []file{{"a/urls", good}, {"domains", good}}},
		{"one file that is not the member", "domains", `archive with 1 file, and it is not "domains" (member)`, []file{{"a/urls", good}}},
		{"several files", "", "archive with 2 files: say which one is the list (member)", []file{{"a", good}, {"b", good}}},
		{"several called domains", "", "archive with 3 files: say which one is the list (member)", both},
		{"several that are the member", "domains", `archive with 2 files that are "domains": give the whole path (member)`, both},
		{"more files than a list can have", "", "archive with more than 10000 files", make([]file, maxMembers+1)},
	} {
		for i := range tt.files {
			if tt.files[i].name == "" {
				tt.files[i].name = fmt.Sprint("f", i)
			}
		}
		for kind, pack := range map[string]func(...file) []byte{"tar.gz": tarGz, "zip": zipped} {
			t.Run(tt.what+" in a "+kind, func(t *testing.T) {
				if got, err := unpacked(t, pack(tt.files...), tt.member); got != "" || err == nil || err.Error() != "unpack: "+tt.err {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
	}
}

func TestAnArchiveWithoutTheListSaysWhatItHasUnlessThatIsConfidential(t *testing.T) {
	long := strings.Repeat("é", 40)
	for _, tt := range []struct {
		what, member, err string
		files             []file
	}{
		{"one", "domains", `archive with 1 file, and it is not "domains" (member); there is "a/urls"`, []file{{"a/urls", good}}},
		{"several", "", `archive with 2 files: say which one is the list (member); there is "a", "b"`, []file{{"a", good}, {"b", good}}},
		{
			"many", "domains", `archive with 4 files, and none is "domains" (member); there is "a", "b", "c", …`,
			[]file{{"../out", good}, {"a", good}, {"b", good}, {"c", good}, {"d", good}},
		},
		{
			"those that are meant", "domains", `archive with 2 files that are "domains": give the whole path (member); there is "a/domains", "b/domains"`,
			[]file{{"README", good}, {"a/domains", good}, {"b/domains", good}},
		},
		{
			"long ones, and what cannot be printed", "domains", `archive with 2 files, and none is "domains" (member); there is "a\x1b[2J\u202e", "` + long[:56] + `…"`,
			[]file{{"a\x1b[2J\u202e", good}, {long, good}},
		},
	} {
		for kind, pack := range map[string]func(...file) []byte{"tar.gz": tarGz, "zip": zipped} {
			t.Run(tt.what+" in a "+kind, func(t *testing.T) {
				server := serve(t, body(pack(tt.files...)))
				refused(t, direct(), fetchRequest{URL: server.URL, Member: tt.member, ShowNames: true}, "unpack: "+tt.err)
				said, _, _ := strings.Cut(tt.err, "; there is")
				refused(t, direct(), fetchRequest{URL: server.URL, Member: tt.member}, "unpack: "+said)
			})
		}
	}
	t.Run("as the Loader does", func(t *testing.T) {
		p := newPublisher(t)
		p.options.Identity, _ = newIdentity(t)
		p.restart()
		p.serve(body(tarGz(file{"a/urls", good})))
		p.spec.Member = "domains"
		const said = `unpack: archive with 1 file, and it is not "domains" (member)`
		p.wantUpdate("", said+`; there is "a/urls"`)
		p.spec.Confidential = true
		p.wantUpdate("confidential", said)
	})
}

func TestABombDoesNotGoOff(t *testing.T) {
	const size = 24 << 20 // more than unpackSlack
	zeros := string(make([]byte, size))
	bomb := bytes.Repeat(gzipped(make([]byte, 1<<20)), size>>20)
	inTar := append(gzipped(tarred(file{"zeros", zeros})[:512]), bomb...) // its header, then the same
	inZip := zipped(file{"domains", zeros})
	for what, b := range map[string][]byte{
		"gzip":                           bomb,
		"gzip in gzip":                   gzipped(bomb),
		"tar.gz":                         inTar,
		"tar.gz, in a file beside it":    append(gzipped(tarred(file{"domains", good})[:1024]), inTar...),
		"zip":                            inZip,
		"zip of a gzip file":             zipped(file{"domains", string(bomb)}),
		"a zip that looks short outside": gzipped(inZip),
	} {
		t.Run(what, func(t *testing.T) {
			got, err := unpacked(t, b, "")
			if want := "unpack: more than 200 times the size of what was served"; err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
			if limit := maxRatio*len(b) + unpackSlack; len(got) > limit {
				t.Errorf("%d bytes were written, more than %d", len(got), limit)
			}
		})
	}
	t.Run("gzip in gzip in gzip", func(t *testing.T) {
		if got, err := unpacked(t, gzipped(gzipped(gzipped([]byte(good)))), ""); got != "" || err == nil || err.Error() != "unpack: compressed by gzip more than 2 times" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestWhatUnpacksToMoreThanAListIsRefused(t *testing.T) {
	server := serve(t, body(gzipped([]byte(strings.Repeat(good, 50_000)))))
	f := direct()
	f.limits.unpacked = 2 << 20
	refused(t, f, fetchRequest{URL: server.URL}, "unpack: larger than 2 MB")

	random := make([]byte, 2<<20)
	sum := sha256.Sum256(nil)
	for i := range random {
		if i%32 == 0 {
			sum = sha256.Sum256(sum[:])
		}
		random[i] = sum[i%32]
	}
	f = direct()
	f.limits.archive = 1 << 20
	for _, b := range [][]byte{tarGz(file{"domains", string(random)}), zipped(file{"domains", string(random)})} {
		refused(t, f, fetchRequest{URL: serve(t, body(b)).URL}, "unpack: archive: larger than 1 MB")
	}
}

func TestWhatIsDamagedIsRefused(t *testing.T) {
	list := strings.Repeat(good, 100)
	for what, b := range map[string][]byte{
		"gzip":   gzipped([]byte(list)),
		"tar.gz": tarGz(file{"a/domains", list}, file{"a/urls", list}),
		"zip":    zipped(file{"a/domains", list}, file{"a/urls", list}),
	} {
		for n := 4; n < len(b); n += 1 + len(b)/200 {
			if got, err := unpacked(t, b[:n], ""); err == nil {
				t.Errorf("%s cut after %d of %d bytes: %d bytes", what, n, len(b), len(got))
			}
			flipped := bytes.Clone(b)
			flipped[n] ^= 0x20
			if got, err := unpacked(t, flipped, ""); err == nil && got != list {
				t.Errorf("%s with byte %d changed: %d bytes", what, n, len(got))
			}
		}
	}
}

// FuzzUnpack holds unpack to its bounds, and to leave alone what is not packed.
func FuzzUnpack(f *testing.F) {
	files := []file{{"a/", ""}, {"a/domains", good}, {"a/urls", "x"}, {"../b", "x"}, {"link", "->/etc/passwd"}}
	for _, b := range [][]byte{
		[]byte(good),
		{},
		gzipped([]byte(good)), gzipped(gzipped([]byte(good))),
		tarred(files...), tarGz(files...), zipped(files...), gzipped(zipped(files...)),
		tarGz(file{"a.gz", string(gzipped([]byte(good)))}), gzipped(make([]byte, 1<<20)),
	} {
		f.Add(b, "")
		f.Add(b, "a/domains")
	}
	limits := fetchLimits{archive: 1 << 20, unpacked: 4 << 20}
	f.Fuzz(func(t *testing.T, b []byte, member string) {
		w := &wire{r: bytes.NewReader(b), sum: sha256.New(), limit: 1 << 20, total: int64(len(b))}
		var dst bytes.Buffer
		err := w.unpack(t.Context(), fetchRequest{Member: member}, limits, &dst)
		if dst.Len() > 4<<20 || dst.Len() > maxRatio*len(b)+unpackSlack {
			t.Errorf("%d bytes unpack to %d", len(b), dst.Len())
		}
		if err == nil && w.done.Load() != int64(len(b)) {
			t.Errorf("%d of %d bytes were read", w.done.Load(), len(b))
		}
		packed := bytes.HasPrefix(b, []byte("PK")) || bytes.HasPrefix(b, []byte{0x1f, 0x8b}) || len(b) > 262 && string(b[257:262]) == "ustar"
		if !packed && (err != nil || !bytes.Equal(b, dst.Bytes())) && len(b) <= 1<<20 {
			t.Errorf("text did not come through: %v", err)
		}
	})
}
