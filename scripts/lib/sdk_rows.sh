# shellcheck shell=bash disable=SC2034,SC2154 # shared with those who source it
# The rows in which our SDK talks to another, see interop/README.md. Sourced by a row, after world.sh.

row_sdk_go() { sdks_connect "$go_peer"; }
row_sdk_rust_spiffe() { sdks_connect "$rust_spiffe_peer"; }
row_sdk_python() { sdks_connect "${python_peer[@]}"; }

# sdks_connect PEER...: on our agent, which has no tokens to give yet.
sdks_connect() {
  start_world "$our_server" "$our_agent"
  meet "$@"
  connections_hold
}

# Nothing is ours here but the SDK. SPIRE's agent gives tokens, too.
row_sdk_spire() {
  start_world "$spire_server" "$spire_agent"
  meet "$rust_spiffe_peer"
  tokens_hold ours theirs "$our_id"
  tokens_hold theirs ours "$their_id"
  meet "${python_peer[@]}"
  tokens_hold ours theirs "$our_id"
  tokens_hold theirs ours "$their_id"
  meet "$go_peer"
  tokens_hold ours theirs "$our_id"
  tokens_hold theirs ours "$their_id"
  connections_hold
}

# On the admin socket of SPIRE's agent, for a workload of certain selectors and for a process. Who is no
# delegate of the agent gets nothing there.
row_sdk_delegated() {
  local admin=$dir/admin.sock sleeper
  # SPIRE wants the workloads' socket in a folder of its own then.
  mkdir -p "$dir/workloads"
  agent_socket=$dir/workloads/agent.sock
  agent_extra="admin_socket_path = \"$admin\"
	  authorized_delegates = [\"spiffe://$trust_domain/$(basename "$our_peer")\"]"
  start_server "$spire_server"
  enter "$spire_server" "$our_peer"
  create_entry "$spire_server" /elsewhere unix:uid:54321 -x509SVIDTTL "$svid_ttl"
  create_entry "$spire_server" /sleeper "unix:path:$(realpath "$(command -v sleep)")" \
    -x509SVIDTTL "$svid_ttl"
  start_agent "$spire_agent" "$spire_server"
  speaks_for elsewhere "$admin" unix:uid:54321 unix:gid:1
  sleep 200 &
  sleeper=$!
  speaks_for sleeper "$admin" "pid:$sleeper"
  kill "$sleeper"
  refuse 'SPIRE names a workload that it does not know' \
    "$our_peer" delegated "$admin" here unix:uid:65432
  cp "$our_peer" "$dir/stranger"
  refuse 'SPIRE lets a stranger speak for others' \
    "$dir/stranger" delegated "$admin" here unix:uid:54321
}

# speaks_for NAME ADMIN-SOCKET WORKLOAD...: gets its tokens and its certificate, and sees that renewed.
speaks_for() {
  local id=spiffe://$trust_domain/$1
  timeout 90 "$our_peer" delegated "$2" here "${@:3}" >"$dir/spoken.log" 2>&1 </dev/null ||
    fail "nobody speaks for $1: $(cat "$dir/spoken.log")"
  [ "$(cat "$dir/spoken.log")" = "a token of $id"$'\n'"$id" ] ||
    fail "something else is told of $1: $(cat "$dir/spoken.log")"
}

# Two trust domains. SPIRE's server publishes for the one; our SDK, with an identity of SPIRE's agent, for
# the other. Each takes over what the other adds.
row_sdk_federation() {
  local friend_port friend_socket ours_at
  friend_port=$(free_port)
  trust_domain=friend.example
  server_extra="federation { bundle_endpoint { address = \"127.0.0.1\" port = $friend_port
    profile \"https_spiffe\" {} } }"
  start_server "$spire_server" friend
  friend_socket=$server_socket
  timeout 30 "$spire_server" bundle show -format spiffe -socketPath "$friend_socket" >"$dir/friend.json"

  trust_domain=example.org server_extra=
  start_server "$spire_server"
  enter "$spire_server" "$our_peer"
  start_agent "$spire_agent" "$spire_server"
  export SPIFFE_ENDPOINT_SOCKET=unix://$agent_socket
  await 60 'our identity' "$our_peer" who
  our_id=$(tail -n 1 "$dir/await.log")
  ours_at=127.0.0.1:$(free_port)
  start ours "$our_peer" federate "$ours_at" friend.example "https://127.0.0.1:$friend_port/" \
    spiffe://friend.example/spire/server "$dir/friend.json"
  await 30 'our endpoint' grep -q '^listening' "$dir/ours.log"
  await 30 "SPIRE's bundle" grep -q '^friend.example has 1$' "$dir/ours.log"

  timeout 30 "$spire_server" bundle show -format spiffe -socketPath "$server_socket" >"$dir/ours.json"
  timeout 30 "$spire_server" federation create -socketPath "$friend_socket" \
    -trustDomain example.org -bundleEndpointURL "https://$ours_at/" \
    -bundleEndpointProfile https_spiffe -endpointSpiffeID "$our_id" \
    -trustDomainBundlePath "$dir/ours.json" -trustDomainBundleFormat spiffe
  friend_knows "$friend_socket" 1
  add_authority "$friend_socket"
  await 30 "SPIRE's new authority" grep -q '^friend.example has 2$' "$dir/ours.log"
  add_authority "$server_socket"
  friend_knows "$friend_socket" 2
}

add_authority() { timeout 30 "$spire_server" localauthority x509 prepare -socketPath "$1"; }

# friend_knows SOCKET COUNT: waits until SPIRE's server there has fetched so many authorities of ours.
friend_knows() {
  local deadline=$((SECONDS + 60)) count
  while
    timeout 30 "$spire_server" federation refresh -socketPath "$1" -id example.org
    timeout 30 "$spire_server" bundle list -socketPath "$1" -id spiffe://example.org \
      -format spiffe >"$dir/known.json"
    count=$(grep -c '"use": "x509-svid"' "$dir/known.json")
    [ "$count" != "$2" ]
  do
    ((SECONDS < deadline)) || fail "SPIRE's server knows $count of our authorities, and not $2"
    sleep 1
  done
}

python_peer=("$python_home/bin/python" interop/python/peer.py)

# Seconds: so short that each SDK has to renew within the row.
svid_ttl=20
renewals=2

# start_world SERVER AGENT: with an entry for our program, and one for each peer.
start_world() {
  local server=$1 agent=$2
  start_server "$server"
  enter "$server" "$our_peer"
  enter "$server" "$go_peer"
  enter "$server" "$rust_spiffe_peer"
  enter "$server" "$(realpath -m "${python_peer[0]}")"
  start_agent "$agent" "$server"
  export SPIFFE_ENDPOINT_SOCKET=unix://$agent_socket
  nobody=spiffe://$trust_domain/nobody
}

# enter CLI PROGRAM: it is called by its file's name.
enter() {
  create_entry "$1" "/$(basename "$2")" "unix:path:$2" -x509SVIDTTL "$svid_ttl"
}

# meet PEER...: it is the one that `theirs` stands for from now on.
meet() {
  ours=("$our_peer") theirs=("$@")
  await 60 'our identity' "${ours[@]}" who
  our_id=$(tail -n 1 "$dir/await.log")
  await 60 'their identity' "${theirs[@]}" who
  their_id=$(tail -n 1 "$dir/await.log")
  note "$our_id meets $their_id"
}

# tokens_hold MINTER CHECKER ID: what the one mints the other verifies by itself, for its audience.
tokens_hold() {
  local -n minter=$1 checker=$2
  local token
  token=$(timeout 30 "${minter[@]}" jwt-mint here)
  [ "$(timeout 30 "${checker[@]}" jwt-check here "$token")" = "$3" ] ||
    fail "$2 do not read a token of $1 as one of $3"
  refuse "$2 take a token of $1 for another audience" "${checker[@]}" jwt-check there "$token"
  refuse "$2 take a token of $1 that was changed" "${checker[@]}" jwt-check here "${token/./.e30}"
}

# Each as client of the other, side by side until both have renewed often enough; then with an ID that
# the client, or the server, does not expect.
connections_hold() {
  serve ours "$their_id" "${ours[@]}"
  local at_ours=$address
  serve theirs "$our_id" "${theirs[@]}"
  local at_theirs=$address
  start ours-calling timeout 150 "${ours[@]}" call "$at_theirs" "$their_id" "$renewals"
  start theirs-calling timeout 150 "${theirs[@]}" call "$at_ours" "$our_id" "$renewals"
  finish ours-calling
  finish theirs-calling

  refuse 'ours call a server of another ID' "${ours[@]}" call "$at_theirs" "$nobody" 0
  refuse 'theirs call a server of another ID' "${theirs[@]}" call "$at_ours" "$nobody" 0
  serve ours-strict "$nobody" "${ours[@]}"
  refuse 'ours serve a client of another ID' "${theirs[@]}" call "$address" "$our_id" 0
  grep -q '^refused: ' "$dir/ours-strict.log" || fail 'ours did not tell whom they refused'
  serve theirs-strict "$nobody" "${theirs[@]}"
  refuse 'theirs serve a client of another ID' "${ours[@]}" call "$address" "$their_id" 0
  grep -q '^refused: ' "$dir/theirs-strict.log" || fail 'theirs did not tell whom they refused'
  # After all that, those who are expected still come in.
  timeout 30 "${ours[@]}" call "$at_theirs" "$their_id" 0 || fail 'theirs have stopped to serve'
  timeout 30 "${theirs[@]}" call "$at_ours" "$our_id" 0 || fail 'ours have stopped to serve'
}

# serve NAME CLIENT-ID PEER...: at $address.
serve() {
  local name=$1 client=$2
  address=127.0.0.1:$(free_port)
  start "$name" "${@:3}" serve "$address" "$client"
  await 30 "$name" grep -q '^listening' "$dir/$name.log"
}

# finish NAME: waits until what was started under this name is through, and tells what it says.
finish() {
  local at last
  for at in "${!names[@]}"; do
    if [ "${names[at]}" = "$1" ]; then
      wait "${pids[at]}" || fail "$1 came to an end by a failure"
      tail -n 1 "$dir/$1.log"
      unset "names[at]" "pids[at]"
      return
    fi
  done
}

# refuse WHAT-WOULD-BE-WRONG COMMAND...: it has to fail by itself, and soon.
refuse() {
  local wrong=$1 status=0
  shift
  timeout 30 "$@" >"$dir/refused.log" 2>&1 </dev/null || status=$?
  if [ "$status" = 0 ] || [ "$status" = 124 ]; then
    fail "$wrong (status $status): $(cat "$dir/refused.log")"
  fi
}
