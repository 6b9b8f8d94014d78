# shellcheck shell=bash disable=SC2034,SC2154 # shared with those who source it
# One trust domain on this machine: servers, agents and workloads that a row starts, all of them gone
# when it ends. Sourced by a row, which has set `dir`, a folder of its own.

trust_domain=example.org
agent_socket=$dir/agent.sock

pids=()
names=()

# start NAME COMMAND...: in the background, its output in NAME.log.
start() {
  local name=$1
  shift
  "$@" >"$dir/$name.log" 2>&1 </dev/null &
  pids+=($!)
  names+=("$name")
}

# leave: ends what was started, last first, and leaves nothing behind. After a failure it tells the
# ends of the logs, before they fill with goodbyes.
leave() {
  local status=$? at
  for at in "${!names[@]}"; do
    if [ "$status" != 0 ]; then
      printf '\n---- %s\n' "${names[at]}"
      tail -n 25 "$dir/${names[at]}.log"
    fi
  done
  for at in $(printf '%s\n' "${!pids[@]}" | sort -rn); do
    kill "${pids[at]}" 2>/dev/null || true
  done
  for at in "${!pids[@]}"; do
    wait "${pids[at]}" 2>/dev/null || true
  done
  if [ -n "${link:-}" ]; then
    rm -f "$link"
  fi
}
trap leave EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

fail() {
  printf 'failed: %s\n' "$*"
  exit 1
}

# await SECONDS WHAT COMMAND...: tries until it succeeds, and gives up early if a program has ended.
await() {
  local deadline=$((SECONDS + $1)) what=$2 at
  shift 2
  until timeout 10 "$@" >"$dir/await.log" 2>&1 </dev/null; do
    for at in "${!pids[@]}"; do
      kill -0 "${pids[at]}" 2>/dev/null || fail "${names[at]} ended while waiting for $what"
    done
    ((SECONDS < deadline)) || fail "gave up waiting for $what: $(tail -n 5 "$dir/await.log")"
    sleep 0.2
  done
}

# free_port: one that nobody listens on.
free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)); do
    if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      printf '%s\n' "$port"
      return
    fi
  done
}

# start_server PROGRAM [NAME]: waits until it says that it is well. The last one started is the one
# that the rest speaks of.
start_server() {
  local name=${2:-server}
  server_socket=$dir/$name.sock
  server_port=$(free_port)
  mkdir -p "$dir/$name"
  cat >"$dir/$name.conf" <<-CONF
	server {
	  bind_address = "127.0.0.1"
	  bind_port = "$server_port"
	  trust_domain = "$trust_domain"
	  data_dir = "$dir/$name"
	  socket_path = "$server_socket"
	  log_level = "DEBUG"
	  ${server_extra:-}
	}
	plugins {
	  DataStore "sql" {
	    plugin_data {
	      database_type = "sqlite3"
	      connection_string = "$dir/$name/datastore.sqlite3"
	    }
	  }
	  KeyManager "memory" {
	    plugin_data {}
	  }
	  NodeAttestor "join_token" {
	    plugin_data {}
	  }
	}
	CONF
  start "$name" "$1" run -config "$dir/$name.conf"
  await 60 "$name" "$1" healthcheck -socketPath "$server_socket"
}

# start_agent PROGRAM CLI: has it attest with a join token that CLI makes. Its entries hang from
# /node, so that they can be there before it is.
start_agent() {
  local cli=$2 token
  mkdir -p "$dir/agent"
  timeout 30 "$cli" bundle show -socketPath "$server_socket" >"$dir/bundle.pem"
  token=$(timeout 30 "$cli" token generate -socketPath "$server_socket" \
    -spiffeID "spiffe://$trust_domain/node" | awk '/^Token:/ { print $2 }')
  [ -n "$token" ] || fail 'token generate printed no token'
  cat >"$dir/agent.conf" <<-CONF
	agent {
	  data_dir = "$dir/agent"
	  log_level = "DEBUG"
	  server_address = "127.0.0.1"
	  server_port = "$server_port"
	  socket_path = "$agent_socket"
	  trust_bundle_path = "$dir/bundle.pem"
	  trust_domain = "$trust_domain"
	  ${agent_extra:-}
	}
	plugins {
	  KeyManager "memory" {
	    plugin_data {}
	  }
	  NodeAttestor "join_token" {
	    plugin_data {}
	  }
	  WorkloadAttestor "unix" {
	    plugin_data {
	      discover_workload_path = true
	    }
	  }
	}
	CONF
  start agent "$1" run -config "$dir/agent.conf" -joinToken "$token"
  await 60 "the agent" "$1" healthcheck -socketPath "$agent_socket"
}

# create_entry CLI PATH SELECTOR [OPTION...]
create_entry() {
  timeout 30 "$1" entry create -socketPath "$server_socket" -parentID "spiffe://$trust_domain/node" \
    -spiffeID "spiffe://$trust_domain$2" -selector "$3" "${@:4}" >"$dir/entry.log"
}
