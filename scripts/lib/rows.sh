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

# Our server and SPIRE's federate, and a workload of ours gets SPIRE's authorities, also those to come.
row_federation() {
  local friend_socket friend_port our_socket our_port document
  friend_port=$(free_port)
  trust_domain=friend.example server_extra=$(bundle_endpoint "$friend_port")
  start_server "$spire_server" friend
  friend_socket=$server_socket
  our_port=$(free_port)
  trust_domain=example.org server_extra=$(bundle_endpoint "$our_port")
  start_server "$our_server"
  our_socket=$server_socket

  document=$dir/first.json
  timeout 30 "$spire_server" bundle show -format spiffe -socketPath "$friend_socket" >"$document"
  federate "$our_server" "$our_socket" friend.example "$friend_port" "$document"
  timeout 30 "$our_server" bundle show -format spiffe -socketPath "$our_socket" >"$document"
  federate "$spire_server" "$friend_socket" example.org "$our_port" "$document"
  knows "$our_server" "$our_socket" friend.example 1
  knows "$spire_server" "$friend_socket" example.org 1

  create_entry "$our_server" /workload "unix:uid:$(id -u)" -federatesWith friend.example
  start_agent "$our_agent" "$our_server"
  export -f fetches_federated
  export dir agent_socket
  await 30 'the authorities of the friend' bash -c 'fetches_federated 1'
  timeout 30 "$spire_server" localauthority x509 prepare -socketPath "$friend_socket"
  knows "$our_server" "$our_socket" friend.example 2
  await 30 'the next authority of the friend' bash -c 'fetches_federated 2'
}

bundle_endpoint() {
  printf 'federation { bundle_endpoint { address = "127.0.0.1" port = %s profile "https_spiffe" {} } }' "$1"
}

# federate CLI SOCKET TRUST_DOMAIN PORT DOCUMENT
federate() {
  timeout 30 "$1" federation create -socketPath "$2" -trustDomain "$3" \
    -bundleEndpointURL "https://127.0.0.1:$4" -bundleEndpointProfile https_spiffe \
    -endpointSpiffeID "spiffe://$3/spire/server" \
    -trustDomainBundlePath "$5" -trustDomainBundleFormat spiffe
}

# knows CLI SOCKET TRUST_DOMAIN COUNT: it fetches so many authorities for X.509 of that trust domain.
knows() {
  timeout 30 "$1" federation refresh -socketPath "$2" -id "$3"
  timeout 30 "$1" bundle list -socketPath "$2" -id "$3" >"$dir/known.pem"
  [ "$(grep -c BEGIN "$dir/known.pem")" = "$4" ] || fail "$(cat "$dir/known.pem")"
}

# fetches_federated COUNT: a workload is given so many authorities of the friend.
fetches_federated() {
  rm -f "$dir"/federated_bundle.*
  "$our_agent" api fetch x509 -socketPath "$agent_socket" -write "$dir" &&
    [ "$(cat "$dir"/federated_bundle.0.0.pem | grep -c BEGIN)" = "$1" ]
}

command_lines_agree() {
  start_server "$1"
  ours=("$our_server" "$server_socket") spires=("$spire_server" "$server_socket")
  same healthcheck
  same federation list
  same federation list -output json
  federation_commands
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
  federation_commands
  same federation list
  same federation show -trustDomain web.example
  entry_and_token_commands
  same entry delete -entryID missing
  same agent show -spiffeID "spiffe://$trust_domain/spire/agent/join_token/missing"
  same agent evict -spiffeID "spiffe://$trust_domain/spire/agent/join_token/missing"
}

federation_commands() {
  timeout 30 "$spire_server" bundle show -socketPath "${spires[1]}" >"$dir/friend.pem"
  same bundle count
  same bundle count -output json
  same bundle list
  same bundle set -id WHOM.example -path "$dir/friend.pem"
  same bundle list -id WHOM.example
  same bundle list -id WHOM.example -format spiffe
  same bundle list -id missing.example
  same bundle set -path "$dir/friend.pem"
  same bundle set -id "$trust_domain" -path "$dir/friend.pem"
  same bundle delete
  same bundle delete -id missing.example
  same bundle delete -id WHOM.example -mode dissociate
  same bundle delete -id WHOM.example -output json
  same federation create -trustDomain WHOM.example -bundleEndpointURL https://h.example \
    -bundleEndpointProfile https_web
  same federation update -trustDomain WHOM.example -bundleEndpointURL https://h.example/b \
    -bundleEndpointProfile https_spiffe -endpointSpiffeID spiffe://WHOM.example/e -output json
  same federation create -trustDomain "$trust_domain" -bundleEndpointURL https://h.example \
    -bundleEndpointProfile https_web
  same federation create -trustDomain WHOM.example -bundleEndpointURL http://h.example \
    -bundleEndpointProfile https_web
  same federation create -trustDomain WHOM.example
  same federation create -trustDomain WHOM.example -bundleEndpointURL https://h.example
  same federation create -trustDomain WHOM.example -bundleEndpointURL https://h.example \
    -bundleEndpointProfile https_spiffe
  same federation refresh
  same federation refresh -id missing.example
  same federation show
  same federation show -trustDomain missing.example
  same federation delete -id missing.example
  same federation delete -id WHOM.example
  same federation delete -id WHOM.example -output json
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
    edits+=(-e "s#/(by|full)/$whom#/\1/WHOM#g" -e "s#$whom.example#WHOM.example#g")
  fi
  sed -E "${edits[@]}" "$dir/printed.txt"
  printf 'exit status %s\n' "$status"
}
