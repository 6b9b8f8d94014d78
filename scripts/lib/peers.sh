# shellcheck shell=bash disable=SC2034,SC2154 # shared with those who source it
# Programs of others, at the versions that we promise to work with. Sourced, never run.

spire_version=v1.15.3
go_spiffe_version=v2.8.1

spire_bin=$cache/peers/spire-$spire_version
go_spiffe_bin=$cache/peers/go-spiffe-$go_spiffe_version
spire_server=$spire_bin/spire-server
spire_agent=$spire_bin/spire-agent

# Programs of our own, on the SDKs of others; see interop/README.md. What they are made of is in their
# names, so that a change of it is built.
go_peer=$cache/peers/go-peer-$(cat interop/go/* | cksum | cut -d ' ' -f 1)
rust_spiffe_peer=$cache/peers/rust-spiffe-peer-$(cat interop/rust-spiffe/{Cargo.*,src/*} | cksum | cut -d ' ' -f 1)

# install_go_peers: builds what the cache does not hold yet. The first time takes 10 to 20 minutes
# on two cores, almost all of it SPIRE.
install_go_peers() {
  local spire=github.com/spiffe/spire/cmd
  local examples=github.com/spiffe/go-spiffe/v2/examples/spiffe-tls
  install_go_program "$spire_agent" "$spire/spire-agent@$spire_version" ||
    build_spire_from_its_module spire-agent
  install_go_program "$spire_server" "$spire/spire-server@$spire_version" ||
    build_spire_from_its_module spire-server
  install_go_program "$go_spiffe_bin/spiffe-tls-server" "$examples/server@$go_spiffe_version"
  install_go_program "$go_spiffe_bin/spiffe-tls-client" "$examples/client@$go_spiffe_version"
  if [ ! -x "$go_peer" ]; then
    note 'building interop/go'
    (cd interop/go && go build -o "$go_peer" . </dev/null)
  fi
}

# install_rust_spiffe_peer: it takes minutes the first time. What it is built from is not kept.
install_rust_spiffe_peer() {
  [ -x "$rust_spiffe_peer" ] && return
  note 'building interop/rust-spiffe'
  local work status=0
  work=$(mktemp -d)
  mkdir -p "$(dirname "$rust_spiffe_peer")"
  cargo build --locked --manifest-path interop/rust-spiffe/Cargo.toml --target-dir "$work" </dev/null &&
    mv "$work/debug/interop-rust-spiffe" "$rust_spiffe_peer" || status=$?
  rm -rf "$work"
  return "$status"
}

# install_go_program PATH PACKAGE@VERSION: under a name of its own, for many examples share one.
install_go_program() {
  local path=$1 package=$2 bin status=0
  [ -x "$path" ] && return
  note "installing $package with go install"
  mkdir -p "$(dirname "$path")"
  bin=$(mktemp -d "$path.XXXXXX")
  GOBIN=$bin go install "$package" </dev/null && mv "$bin"/* "$path" || status=$?
  rmdir "$bin"
  return "$status"
}

# build_spire_from_its_module PROGRAM: for module proxies that lack SPIRE's newest version, which
# `go install` asks about, or the SDK of the EJBCA upstream authority, which is a line in a list that
# nothing we try needs.
build_spire_from_its_module() {
  local program=$1 work module
  note "building $program $spire_version from its module, without the EJBCA plugin"
  mkdir -p "$spire_bin"
  work=$(mktemp -d "$spire_bin/$program.XXXXXX")
  module=$(cd "$work" && go mod download -json "github.com/spiffe/spire@$spire_version" |
    sed -nE 's/^\s*"Dir": "(.*)",?$/\1/p')
  cp -R "$module" "$work/module"
  chmod -R u+w "$work"
  (
    cd "$work/module" || exit
    sed -i.orig '/ejbca/d' pkg/server/catalog/upstreamauthority.go
    go build -o "$work/$program" "./cmd/$program" </dev/null
  )
  mv "$work/$program" "$spire_bin/$program"
  rm -rf "$work"
}
