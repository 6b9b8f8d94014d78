# shellcheck shell=bash disable=SC2034,SC2154 # shared with those who source it
# The rows of the matrix: `row_NAME` for each. Sourced by a row, after world.sh.

# Our server, SPIRE's agent: it attests and hands a workload its SVID.
row_spire_agent() { hands_out_an_svid "$our_server" "$spire_agent"; }

# SPIRE's server, our agent: the same.
row_spire_server() { hands_out_an_svid "$spire_server" "$our_agent"; }

# Our server, our agent: what must hold before the rest means anything.
row_control() { hands_out_an_svid "$our_server" "$our_agent"; }

hands_out_an_svid() {
  local server=$1 agent=$2
  start_server "$server"
  create_entry "$server" /workload "unix:uid:$(id -u)"
  start_agent "$agent" "$server"
  await 30 'an SVID' "$agent" api fetch x509 -socketPath "$agent_socket" -write "$dir"
  grep -qE "^SPIFFE ID:\s+spiffe://$trust_domain/workload$" "$dir/await.log" ||
    fail "another SVID than expected: $(cat "$dir/await.log")"
}

# go-spiffe's client and server talk over mutual TLS. Both know the agent at one fixed place.
row_go_spiffe_tls() {
  start_server "$our_server"
  create_entry "$our_server" /server "unix:path:$go_spiffe_bin/spiffe-tls-server"
  create_entry "$our_server" /client "unix:path:$go_spiffe_bin/spiffe-tls-client"
  start_agent "$our_agent" "$our_server"
  ln -s "$agent_socket" /tmp/agent.sock || fail '/tmp/agent.sock is taken'
  link=/tmp/agent.sock

  start tls-server "$go_spiffe_bin/spiffe-tls-server"
  await 30 'the TLS server' bash -c ': </dev/tcp/localhost/55555'
  await 30 'the TLS client' "$go_spiffe_bin/spiffe-tls-client"
  grep -qF 'Server says: "Hello client\n"' "$dir/await.log" || fail "$(cat "$dir/await.log")"
}

# PyPI's client, on gRPC's C core, which names a Unix socket as no other does.
row_python_client() {
  start_server "$our_server"
  create_entry "$our_server" /workload "unix:uid:$(id -u)"
  start_agent "$our_agent" "$our_server"
  await 30 'an SVID' "$python_home/bin/python" scripts/lib/fetch_svid.py "$agent_socket"
  [ "$(cat "$dir/await.log")" = "spiffe://$trust_domain/workload" ] || fail "$(cat "$dir/await.log")"
}

# Our command line on SPIRE's server prints what SPIRE's own prints there.
row_our_cli() { command_lines_agree "$spire_server"; }

# SPIRE's command line on our server prints what ours prints there.
row_spire_cli() { command_lines_agree "$our_server"; }

command_lines_agree() {
  start_server "$1"
  ours=("$our_server" "$server_socket") spires=("$spire_server" "$server_socket")
  same healthcheck
  same bundle show
  same bundle show -format spiffe
  same bundle show -output json
  entry_and_token_commands
  start_agent "$spire_agent" "$1"
  same agent list
  same agent list -output json
}

# Our server answers SPIRE's command line as SPIRE's server does.
row_answers() {
  start_server "$spire_server" spire-server
  spires=("$spire_server" "$server_socket")
  start_server "$our_server" our-server
  ours=("$spire_server" "$server_socket")
  same healthcheck
  entry_and_token_commands
  same entry delete -entryID missing
  same agent show -spiffeID "spiffe://$trust_domain/spire/agent/join_token/missing"
  same agent evict -spiffeID "spiffe://$trust_domain/spire/agent/join_token/missing"
}

entry_and_token_commands() {
  local parent=spiffe://$trust_domain/node
  same agent list
  same entry show
  # On one server each makes an entry of its own; then both find both.
  same entry create -parentID "$parent" -spiffeID "spiffe://$trust_domain/by/WHOM" -selector unix:uid:1
  same entry create -parentID "$parent" -spiffeID "spiffe://$trust_domain/by/WHOM" -selector unix:uid:1
  same entry create -parentID "$parent" -spiffeID "spiffe://$trust_domain/full/WHOM" \
    -selector unix:uid:2 -selector unix:gid:2 -x509SVIDTTL 120 -jwtSVIDTTL 60 \
    -dns a.example.org -dns b.example.org -hint some -admin
  same entry create -parentID "$parent" -spiffeID spiffe://elsewhere.org/a -selector unix:uid:1
  same entry create -parentID "$parent" -spiffeID "spiffe://$trust_domain/spire/a" -selector unix:uid:1
  same entry show
  same entry show -spiffeID "spiffe://$trust_domain/missing"
  same entry show -output json
  # Last, for with a SPIFFE ID SPIRE makes an entry at once and we make it when the token is used.
  same token generate
  same token generate -ttl 60 -spiffeID "$parent"
  same token generate -output json
}

# same COMMAND...: both command lines, each on its server, print the same and end alike.
same() {
  printed ours "${ours[@]}" "$@" >"$dir/ours.txt"
  printed spires "${spires[@]}" "$@" >"$dir/spires.txt"
  diff -u "$dir/spires.txt" "$dir/ours.txt" || fail "\`$*\` does not print what SPIRE prints"
}

# printed WHOM PROGRAM SOCKET COMMAND...: what it prints, and its exit status, without what differs
# from one call to the next.
printed() {
  local whom=$1 program=$2 socket=$3 status=0 hex='[0-9a-f]'
  shift 3
  timeout 30 "$program" "${@//WHOM/$whom}" -socketPath "$socket" >"$dir/printed.txt" 2>&1 || status=$?
  local edits=(
    -e "s/$hex{8}(-$hex{4}){3}-$hex{12}/UUID/g"
    -e 's/("(created|expires)_at": *"?)[0-9]+/\1TIME/g'
  )
  # Of what it made itself, and where the servers are two.
  if [[ $* == *WHOM* || ${ours[1]} != "${spires[1]}" ]]; then
    edits+=(-e "s#/(by|full)/$whom#/\1/WHOM#g")
  fi
  sed -E "${edits[@]}" "$dir/printed.txt"
  printf 'exit status %s\n' "$status"
}
