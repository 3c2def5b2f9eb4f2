package blocklist
import ("testing";"fmt";"time";"runtime";"math/rand/v2";"strings";"log/slog";"context";"path/filepath";"os")
func TestZZ5M(t *testing.T) {
	r := rand.New(rand.NewPCG(1,1)); words := []string{}
	for range 60000 { n := 3+r.IntN(8); b := make([]byte,n); for i := range b { b[i]=byte('a'+r.IntN(26)) }; words = append(words,string(b)) }
	tlds := []string{"com","net","org","de","co.uk","ru","fr","info"}
	var sb strings.Builder
	for range 5000000 { sb.WriteString(words[r.IntN(len(words))]); if r.IntN(2)==0 {sb.WriteString("-")}; sb.WriteString(words[r.IntN(len(words))]); sb.WriteByte('.'); sb.WriteString(tlds[r.IntN(8)]); sb.WriteByte('\n') }
	text := sb.String()
	st := time.Now(); l, err := Parse(strings.NewReader(text), Options{}); if err != nil { t.Fatal(err) }
	fmt.Println("parse", time.Since(st), len(text)>>20, "MB")
	var m0, m1 runtime.MemStats; runtime.GC(); runtime.ReadMemStats(&m0)
	st = time.Now(); s := Build([]Source{{ID:"x",List:l}}); d := time.Since(st); runtime.ReadMemStats(&m1)
	fmt.Println("build", d, "size", float64(s.size())/5e6, "alloc MB", (m1.TotalAlloc-m0.TotalAlloc)>>20, "list B/name", float64(len(l.names))/5e6)
	var ks []Name; i := 0; for n := range l.Names() { if i%37==0 { ks = append(ks,n) }; i++ }; r.Shuffle(len(ks), func(a,b int){ks[a],ks[b]=ks[b],ks[a]})
	i = 0; keys := drawKeys(len(ks), func() Name { i++; return ks[i-1] })
	for range 3 { st = time.Now(); for _, k := range keys { if s.Match(k)==0 { t.Fatal("miss") } }; fmt.Println("hit ns", float64(time.Since(st).Nanoseconds())/float64(len(keys))) }
}
func TestZZHeap(t *testing.T) {
	var specs []Spec
	for p := range readRealLists(t) { if !strings.HasPrefix(p,"popular") { a,_ := filepath.Abs(filepath.Join(realLists,p)); specs = append(specs, Spec{ID:p, Path:a, Category: Category(len(specs)%20)}) } }
	dir := t.TempDir()
	for i := range 2 {
	ld := NewLoader(dir, slog.New(slog.NewTextHandler(os.Stderr,nil)))
	runtime.GC(); var m0, m1 runtime.MemStats; runtime.ReadMemStats(&m0)
	st := time.Now(); out := ld.Load(context.Background(), specs, nil); d := time.Since(st)
	var src []Source; for _, o := range out { if o.Err != nil { t.Fatal(o.Err) }; src = append(src, Source{o.ID,o.Category,o.List}) }
	st = time.Now(); s := Build(src); b := time.Since(st); runtime.GC(); runtime.ReadMemStats(&m1)
	fmt.Println(i, "load", d, "build", b, "heap MB", float64(m1.HeapAlloc-m0.HeapAlloc)/1e6, "set MB", float64(s.size())/1e6)
	st = time.Now(); ld.Load(context.Background(), specs, nil); fmt.Println("again", time.Since(st)); runtime.KeepAlive(s)
	}
}
