#!/bin/sh
# Brings Airflow's database up to date and makes what the DAGs rely on; run again, it changes nothing but passwords.
set -eu
# A user who is there already keeps the password of then: it is set, so that `.env` says what it is.
user() {
    "$AIRFLOW_BIN/airflow" users create --role "$1" --username "$2" --password "$3" \
        --firstname microrec --lastname "$2" --email "$4"
    "$AIRFLOW_BIN/airflow" users reset-password --username "$2" --password "$3"
}
"$AIRFLOW_BIN/airflow" db migrate
user Admin admin "$AIRFLOW_ADMIN_PASSWORD" operator@localhost
user User note "$AIRFLOW_NOTE_PASSWORD" note@localhost
"$AIRFLOW_BIN/airflow" pools import "$(dirname "$0")/pools.json"
