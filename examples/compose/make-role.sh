# Run once by PostgreSQL's image, as its superuser: the role and the database of config.yaml.
# shellcheck shell=sh
psql --set=ON_ERROR_STOP=1 --set=password="$(cat /run/secrets/app.password)" <<'SQL'
CREATE ROLE app LOGIN PASSWORD :'password';
CREATE DATABASE sales OWNER app;
SQL
