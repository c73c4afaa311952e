"""What each database supports in SQLAlchemy's dialect suite, and the reason of everything that is skipped."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements

SUPPORTED = """
array_type autocommit cast_precision_numerics_many_significant_digits check_constraint_reflection
column_collation_reflection comment_reflection comment_reflection_full_unicode computed_columns_default_persisted
computed_columns_reflect_persisted computed_columns_stored computed_columns_virtual constraint_comment_reflection
create_or_replace_view create_table_as create_temp_table_as cross_schema_fk_reflection ctes ctes_with_update_delete
ctes_with_values date_historic datetime_historic datetime_interval datetime_literals datetime_timezone
datetime_timezone_historic dbapi_lastrowid delete_from dialect_level_isolation_level_param expression_server_defaults
fetch_expression fetch_first fetch_no_order_by fetch_offset_with_options fetch_ties
fk_constraint_option_reflection_ondelete_noaction fk_constraint_option_reflection_ondelete_restrict
fk_constraint_option_reflection_onupdate_restrict float_or_double_precision_behaves_generically
foreign_key_constraint_name_reflection foreign_key_constraint_option_reflection_ondelete
foreign_key_constraint_option_reflection_onupdate foreign_keys_reflect_as_index has_temp_table identity_columns
identity_columns_standard implicitly_named_constraints index_ddl_if_exists index_reflects_included_columns
indexes_check_column_order indexes_with_expressions infinity_floats inline_check_constraint_reflection isolation_level
json_array_indexes json_index_supplementary_unicode_element json_type legacy_unconditional_json_extract
materialized_views nvarchar_types order_by_collation parens_in_union_contained_select_w_limit_offset
parens_in_union_contained_select_wo_limit_offset percent_schema_names precision_numerics_many_significant_digits
precision_numerics_retains_significant_digits reflect_indexes_with_expressions reflect_table_options
reflect_tables_no_columns reflects_pk_names regexp_match regexp_replace repeated_column_foreign_keys sane_multi_rowcount
savepoints schema_create_delete sequences sequences_optional server_defaults server_side_cursors
skip_autocommit_rollback supports_bitwise_and supports_bitwise_not supports_bitwise_or supports_bitwise_shift
supports_bitwise_xor supports_distinct_on table_ddl_if_exists table_value_constructor temporary_views time_timezone
tuple_in tuple_in_w_empty unicode_ddl unique_constraints_reflect_as_index unique_index_reflect_as_unique_constraints
update_from uuid_data_type view_column_reflection view_reflection views window_functions window_range
window_range_non_numeric window_range_numeric
"""
"""Requirements that all databases satisfy, except those in UNSUPPORTED."""

NO_FEATURE = "the database has no such feature"
BITS_32 = "a FLOAT has 32 bits"
ONE_TRANSACTION = "what belongs to one connection ends with the transaction, when the connection returns to the pool"

UNSUPPORTED = {
    "postgresql": {
        NO_FEATURE: "dbapi_lastrowid fetch_percent foreign_keys_reflect_as_index nvarchar_types "
        "repeated_remote_col_foreign_keys unique_index_reflect_as_unique_constraints",
        "PostgreSQL 18 and newer only": "computed_columns_virtual",
        "asyncpg does not return the row count of executemany": "sane_multi_rowcount",
        ONE_TRANSACTION: "temp_table_reflection temp_table_reflect_indexes temp_table_names has_temp_table "
        "temp_table_comment_reflection default_schema_name_switch",
    },
    "sqlite": {
        NO_FEATURE: "array_type column_collation_reflection comment_reflection comment_reflection_full_unicode "
        "computed_columns_default_persisted constraint_comment_reflection create_or_replace_view "
        "cross_schema_fk_reflection ctes_with_update_delete datetime_interval datetime_timezone "
        "datetime_timezone_historic default_schema_name_switch delete_from fetch_first fetch_no_order_by "
        "fetch_percent fetch_ties foreign_keys_reflect_as_index identity_columns identity_columns_standard "
        "implicitly_named_constraints index_reflects_included_columns materialized_views "
        "parens_in_union_contained_select_w_limit_offset parens_in_union_contained_select_wo_limit_offset "
        "reflect_indexes_with_expressions reflect_tables_no_columns regexp_replace repeated_remote_col_foreign_keys "
        "schema_create_delete sequences sequences_optional supports_distinct_on table_value_constructor time_timezone "
        "unique_constraints_reflect_as_index unique_index_reflect_as_unique_constraints uuid_data_type "
        "window_range_non_numeric",
        "decimals are stored as floats": "cast_precision_numerics_many_significant_digits "
        "precision_numerics_many_significant_digits",
        "the functions of JSON do not find keys outside of the basic plane": "json_index_supplementary_unicode_element",
        ONE_TRANSACTION: "temp_table_reflection temp_table_reflect_indexes temp_table_names has_temp_table "
        "temp_table_comment_reflection",
    },
    "mariadb": {
        NO_FEATURE: "array_type ctes_with_update_delete ctes_with_values datetime_interval datetime_timezone "
        "computed_columns_default_persisted datetime_timezone_historic fetch_expression fetch_first fetch_no_order_by "
        "fetch_offset_with_options fetch_percent fetch_ties identity_columns identity_columns_standard "
        "index_reflects_included_columns indexes_with_expressions infinity_floats inline_check_constraint_reflection "
        "legacy_unconditional_json_extract materialized_views "
        "reflect_indexes_with_expressions reflect_tables_no_columns reflects_pk_names repeated_column_foreign_keys "
        "repeated_remote_col_foreign_keys sql_expression_limit_offset supports_distinct_on table_value_constructor "
        "temporary_views time_timezone window_range_non_numeric",
        "a VARCHAR has a length": "column_collation_reflection unbounded_varchar",
        "a DATETIME and a TIME have no fractions of seconds without a precision": "datetime_microseconds "
        "time_microseconds",
        BITS_32: "float_or_double_precision_behaves_generically",
        "the complement of a number has no sign": "supports_bitwise_not",
        "comments are of the basic plane": "comment_reflection_full_unicode",
        "RESTRICT is the default, which is not shown": "fk_constraint_option_reflection_ondelete_restrict "
        "fk_constraint_option_reflection_onupdate_restrict",
        ONE_TRANSACTION: "temp_table_reflection temp_table_reflect_indexes temp_table_names has_temp_table "
        "temp_table_comment_reflection default_schema_name_switch",
    },
}
"""Names of requirements, by database and reason."""

SKIPPED = {
    "postgresql": {
        "ComponentReflectionTest::test_get_temp_view_names": ONE_TRANSACTION,
    },
    "sqlite": {
        "ComponentReflectionTest::test_get_temp_view_names": ONE_TRANSACTION,
        "IsolationLevelTest::test_dialect_user_setting_is_restored": "there is one isolation level beside AUTOCOMMIT",
        "UnicodeSchemaTest": "it refers to a column that is not unique, and our connections enforce foreign keys",
    },
    "mariadb": {
        "NumericTest::test_float_custom_scale": BITS_32,
    },
}
"""Beginnings of names of tests, by database, and their reason."""

OF_THE_SUITE = {
    "no non-default isolation level available": "SQLite has one isolation level",
    "sqlite or mssql": "SQLite has no FOR UPDATE",
    "mariadb doesn't support 'UPDATE ... RETURNING'": "MariaDB has RETURNING for INSERT and DELETE only",
}
"""Reasons that are written in the suite, and what they mean here."""


def reasons(database: str) -> set[str]:
    """Return the reasons for which tests may be skipped."""
    return {*UNSUPPORTED[database], *SKIPPED[database].values(), *OF_THE_SUITE}


class DialectRequirements(SuiteRequirements):
    @property
    def computed_columns(self) -> Any:
        warning = r".*PostgreSQL version does not support VIRTUAL"
        return exclusions.warns_if("postgresql < 18", warning, assert_=False)  # type: ignore[no-untyped-call] # untyped

    def get_order_by_collation(self, config: Any) -> str:
        return {"postgresql": "POSIX", "sqlite": "NOCASE", "mariadb": "utf8mb4_bin"}[config.db.name]


def _rule(name: str, requirements: DialectRequirements) -> Any:
    make: Callable[..., Any] = exclusions.skip_if
    rule: Any = exclusions.compound()  # type: ignore[no-untyped-call] # untyped
    for database, found in UNSUPPORTED.items():
        for reason, names in found.items():
            if name in names.split():
                rule += make(database, reason)
    return rule


def _names() -> set[str]:
    unsupported = " ".join(names for found in UNSUPPORTED.values() for names in found.values())
    return {*SUPPORTED.split(), *unsupported.split()}


for _name in _names():
    setattr(DialectRequirements, _name, property(partial(_rule, _name)))
