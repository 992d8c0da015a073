#!/bin/sh
# Brings Airflow's database up to date and makes what the DAGs rely on; run again, it changes nothing.
set -eu
"$AIRFLOW_BIN/airflow" db migrate
"$AIRFLOW_BIN/airflow" users create --role Admin --username admin --password "$AIRFLOW_ADMIN_PASSWORD" \
    --firstname microrec --lastname operator --email operator@localhost
"$AIRFLOW_BIN/airflow" pools import "$(dirname "$0")/pools.json"
