# Sourced. `need PACKAGE …` installs Debian or Ubuntu packages that are missing, and says so first.
need() {
  missing=""
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null || {
    echo "expected these programs, and this system has no apt-get; install them:$missing" >&2
    exit 2
  }
  sudo=""
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  echo "Installing with $sudo apt-get:$missing" >&2
  # shellcheck disable=SC2086
  $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 ||
    { $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null; }
}
