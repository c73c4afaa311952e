"""SQL functions, and keywords that precede a bracket, that change neither data nor session state.

The lists hold those of PostgreSQL and SQLite, and beside them those of MySQL and MariaDB, that applications use. A
missing function only costs performance: its statements do not run on replicas, and the connection is reset afterwards.
"""

from __future__ import annotations

_WORDS = """
all and any array as between by case conflict cube distinct else end except exists filter from group grouping having in
inner intersect into is join lateral left like ilike limit materialized not null nulls offset on or order over overlaps
partition range returning right rollup rows select sets similar some then to union unique using values when where window
with within
"""
_TYPES = """
bigint bit boolean bytea char character date decimal double float int integer interval json jsonb numeric real smallint
text time timestamp timestamptz uuid varbit varchar
"""
_AGGREGATES = """
any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp cume_dist dense_rank
every first_value group_concat json_agg range_agg range_intersect_agg regr_intercept regr_r2 regr_slope
json_object_agg jsonb_agg jsonb_object_agg lag last_value lead max min mode nth_value ntile percent_rank percentile_cont
percentile_disc rank row_number stddev stddev_pop stddev_samp string_agg sum total var_pop var_samp variance
json_group_array json_group_object
"""
_NUMBERS = """
abs cbrt ceil ceiling degrees div exp floor ln log log10 log2 mod pi power radians random round sign sqrt trunc
width_bucket greatest least coalesce nullif ifnull iif acos asin atan atan2 cos cosh sin sinh tan tanh gcd lcm factorial
scale min_scale trim_scale num_nonnulls num_nulls bernoulli
"""
_TEXTS = """
ascii btrim char_length character_length chr concat concat_ws convert_from convert_to decode encode format initcap instr
left length lower lpad ltrim md5 octet_length overlay position printf quote quote_ident quote_literal regexp_match
regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table repeat replace reverse right rpad rtrim sha224
sha256 sha384 sha512 split_part starts_with strpos substr substring to_hex translate trim unicode upper hex glob
regexp regexp_count regexp_instr regexp_like regexp_substr setweight soundex bit_count bit_length
to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery to_tsvector ts_rank ts_rank_cd ts_headline similarity
cast extract collate typeof unhex zeroblob
"""
_TIMES = """
age clock_timestamp date_bin date_part date_trunc isfinite julianday justify_days justify_hours justify_interval
localtime localtimestamp make_date make_interval make_time make_timestamp make_timestamptz now statement_timestamp
timezone
strftime timeofday to_char to_date to_number to_timestamp transaction_timestamp unixepoch datetime timediff
"""
_STRUCTURES = """
array_append array_cat array_dims array_length array_lower array_ndims array_position array_positions array_prepend
array_remove array_replace array_to_json array_to_string array_upper cardinality generate_series generate_subscripts
json_array json_array_elements json_array_elements_text json_array_length json_build_array json_build_object json_each
json_each_text json_extract json_extract_path json_extract_path_text json_object json_object_keys json_set json_tree
json_type json_typeof json_valid jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array
jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object_keys
jsonb_path_exists jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set
json_insert json_patch json_populate_record json_populate_recordset json_quote json_remove json_replace json_strip_nulls
jsonb_path_match jsonb_populate_record jsonb_populate_recordset int4multirange int8multirange nummultirange
datemultirange tsmultirange tstzmultirange multirange range_merge trim_array
jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof lower_inc lower_inf json_to_record json_to_recordset
row row_to_json string_to_array to_json to_jsonb unnest upper_inc upper_inf int4range int8range numrange daterange
tsrange tstzrange isempty excluded
"""
_SERVER = """
current_database current_schema current_schemas current_setting inet_client_addr inet_server_addr inet_server_port
gen_random_uuid hashtext hashtextextended pg_backend_pid pg_current_wal_flush_lsn pg_current_wal_insert_lsn
pg_current_wal_lsn pg_is_in_recovery pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp
pg_postmaster_start_time pg_relation_size pg_sleep pg_table_size pg_total_relation_size pg_typeof pg_wal_lsn_diff
pg_walfile_name sqlite_version to_regclass to_regproc version last_insert_rowid changes
"""

_MYSQL = """
against avg bin bin_to_uuid binary char_length charset coercibility collation compress connection_id conv convert
convert_tz crc32 curdate current_date current_time current_timestamp curtime database date_add date_format date_sub
datediff datetime dayname dayofmonth dayofweek dayofyear div duplicate elt enum export_set field find_in_set from_base64
from_days from_unixtime get_format if index inet6_aton inet6_ntoa inet_aton inet_ntoa insert is_ipv4 is_ipv6 is_uuid
json_arrayagg json_array_append json_array_insert json_compact json_contains json_contains_path json_depth json_detailed
json_equals json_exists json_keys json_length json_merge_patch json_merge_preserve json_normalize json_objectagg
json_overlaps json_query json_search json_table json_unquote json_value key last_day lcase locate longblob longtext
make_set makedate maketime match mediumint microsecond mid minute month monthname oct ord partition period_add
period_diff position quarter regexp_instr regexp_replace regexp_substr rlike schema second sec_to_time sha sha1 sha2
signed space std str_to_date strcmp subdate adddate addtime subtime substring_index sysdate time_format time_to_sec
timediff timestampadd timestampdiff tinyint to_base64 to_days to_seconds truncate ucase uncompress unsigned
unix_timestamp user utc_date utc_time utc_timestamp uuid uuid_short uuid_to_bin variance varbinary week weekday
weekofyear weight_string year yearweek
"""

CLEAN_FUNCTIONS = frozenset({"pg_notify", "pg_advisory_xact_lock", "pg_try_advisory_xact_lock"})
"""Functions that leave session and tables unchanged although they are not reads, and need the primary."""
PLUGIN_PREFIX = "scalekit_"
"""Prefix of the functions that plugins create; they write tables of their plugin only, and leave the session clean."""
_SHARED = frozenset(" ".join((_WORDS, _TYPES, _AGGREGATES, _NUMBERS, _TEXTS, _TIMES, _STRUCTURES, _SERVER)).split())
SAFE_FUNCTIONS = {"postgresql": _SHARED, "sqlite": _SHARED, "mysql": _SHARED | frozenset(_MYSQL.split())}
"""The names by dialect."""
