# Run once by PostgreSQL's image, as its superuser: the role and the database of config.yaml.
# shellcheck shell=sh
psql --set=ON_ERROR_STOP=1 --set=password="$(cat /run/secrets/app.password)" <<'SQL'
CREATE ROLE app LOGIN PASSWORD :'password';
CREATE DATABASE sales OWNER app;
-- A client that vanished gives its slot back in minutes, not in hours.
ALTER ROLE app SET tcp_keepalives_idle = '60s';
ALTER ROLE app SET tcp_keepalives_interval = '15s';
ALTER ROLE app SET tcp_keepalives_count = 5;
SQL
