package config
import ("testing";"strings";"time";"fmt")
func TestPerf(t *testing.T){
 base:="version: 1\ngroups:\n  p: {}\ndefault_group: p\n"
 for name,s:=range map[string]string{
  "bad clients": base+"access:\n  allow:\n"+strings.Repeat("    - nonsense\n",200000),
  "bad zones": base+"zones:\n"+strings.Repeat("  - {names: [], servers: []}\n",30000),
  "rules": base+"rules:\n"+strings.Repeat("  - {allow: [a b], reason: x}\n",50000),
  "lists": "version: 1\ncategories:\n  a:\n    lists:\n"+strings.Repeat("    - {}\n",30000)+"groups:\n  p: {}\ndefault_group: p\n",
  "groups": "version: 1\ngroups:\n"+func()string{b:="";for i:=range 3000{b+=fmt.Sprintf("  g%d: {inherit: g%d}\n",i,(i+1)%3000)};return b}()+"default_group: g0\n",
  "deep": strings.Repeat("[",9000),
  "deep2": "rules: "+strings.Repeat("[",9000)+strings.Repeat("]",9000),
  "unclosed": base+strings.Repeat("a: 1\n",100000)+" b: 1\n",
  "longkeys": base+strings.Repeat("k",1<<20)+": 1\n",
  "later": "version: 1\ngroups:\n  p:\n    clients:\n"+func()string{var b strings.Builder;for i:=range 30000{fmt.Fprintf(&b,"      - name:a%d\n",i)};return b.String()}()+"default_group: p\n",
 }{
  start:=time.Now()
  _,err:=load(&report{file:"f"},[]byte(s),"testdata",fakeMachine())
  n:=0; if e,ok:=err.(Errors);ok{n=len(e)}
  fmt.Printf("%-12s %8d bytes %6d errors %v\n",name,len(s),n,time.Since(start))
 }
}
