//! The rights that serving needs, and the missing ones of a role.

use super::SCHEMA;
use sqlx::postgres::PgConnection;
use sqlx::{Error, query_as, query_scalar};
use std::fmt;

/// The missing rights of a role.
#[derive(Clone, Debug, Default)]
pub(crate) struct MissingRights {
    /// The role, quoted for SQL.
    role: String,
    /// The right, kind and name of each object.
    rights: Vec<(String, String, String)>,
    /// Whether the database is a standby, which accepts no writes.
    is_standby: bool,
    /// Whether the role's transactions are read-only by default.
    is_read_only: bool,
}

/// Covers all tables, also those of a newer migration. Uses oids: without USAGE on the schema, names do not resolve.
const MISSING: &str = "
WITH relation AS (
    SELECT c.oid, c.relkind, c.relname::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1
)
SELECT 'USAGE' AS privilege, 'SCHEMA' AS kind, nspname::text AS name FROM pg_namespace
WHERE nspname = $1 AND NOT has_schema_privilege(oid, 'USAGE')
UNION ALL
SELECT p.privilege, 'TABLE', r.name
FROM relation r CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (privilege)
WHERE (r.name NOT IN ('_sqlx_migrations', 'schema_version') AND r.relkind <> 'v' OR p.privilege = 'SELECT')
    AND CASE WHEN r.relkind IN ('r', 'p', 'v') THEN NOT has_table_privilege(r.oid, p.privilege) END
UNION ALL
SELECT 'USAGE', 'SEQUENCE', r.name FROM relation r
WHERE CASE WHEN r.relkind = 'S' THEN NOT has_sequence_privilege(r.oid, 'USAGE') END
    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = r.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'i')
UNION ALL
SELECT 'EXECUTE', 'FUNCTION', f.oid::regprocedure::text FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
WHERE n.nspname = $1 AND f.prorettype <> 'trigger'::regtype AND NOT has_function_privilege(f.oid, 'EXECUTE')";

pub(super) async fn missing(connection: &mut PgConnection) -> Result<MissingRights, Error> {
    const ROLE: &str = "SELECT quote_ident(current_user)";
    const READ_ONLY: &str =
        "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'";
    let role: String = query_scalar(ROLE).fetch_one(&mut *connection).await?;
    let (is_standby, is_read_only) = query_as(READ_ONLY).fetch_one(&mut *connection).await?;
    let rights = query_as(MISSING).bind(SCHEMA).fetch_all(connection).await?;
    Ok(MissingRights { role, rights, is_standby, is_read_only })
}

/// The right that a migration lacks, and the statement that grants it.
pub(super) async fn missing_to_migrate(connection: &mut PgConnection) -> Result<String, Error> {
    /// The first row names the object that every later one needs.
    const LACKS: &str = "
        SELECT 'CREATE', 'DATABASE', quote_ident(current_database())
        WHERE NOT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1) AND NOT has_database_privilege(current_database(), 'CREATE')
        UNION ALL
        SELECT p.privilege, 'SCHEMA', n.nspname::text
        FROM pg_namespace n CROSS JOIN unnest(ARRAY['USAGE', 'CREATE']) AS p (privilege)
        WHERE n.nspname = $1 AND NOT has_schema_privilege(n.oid, p.privilege)";
    const SCHEMA_OWNER: &str =
        "SELECT quote_ident(pg_get_userbyid(nspowner)) FROM pg_namespace WHERE nspname = $1";
    /// A change of a table needs its owner.
    const OWNER: &str = "
        SELECT quote_ident(pg_get_userbyid(c.relowner)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind = 'r' AND NOT pg_has_role(c.relowner, 'USAGE') ORDER BY c.relname LIMIT 1";
    let MissingRights { role, is_standby, is_read_only, .. } = missing(connection).await?;
    let lacks: Vec<(String, String, String)> =
        query_as(LACKS).bind(SCHEMA).fetch_all(&mut *connection).await?;
    if is_standby || is_read_only || !lacks.is_empty() {
        let found = MissingRights { role, rights: lacks, is_standby, is_read_only };
        let alternative = match found.rights.first() {
            _ if is_standby || is_read_only => String::new(),
            Some((_, kind, _)) if kind == "DATABASE" => {
                format!(", or CREATE SCHEMA {SCHEMA} AUTHORIZATION {}", found.role)
            }
            // Where one role migrates and another one serves, the grant would undo that.
            _ => {
                let owner: String = query_scalar(SCHEMA_OWNER).bind(SCHEMA).fetch_one(connection).await?;
                format!(", or run `blobgate inbox migrate` as {owner}")
            }
        };
        return Ok(format!("{found}{alternative}"));
    }
    let owner: Option<String> = query_scalar(OWNER).bind(SCHEMA).fetch_optional(&mut *connection).await?;
    match owner {
        Some(owner) => {
            Ok(format!("the tables belong to the role {owner}. Run `blobgate inbox migrate` as {owner}"))
        }
        None => Ok(missing(connection).await?.to_string()),
    }
}

impl MissingRights {
    /// Whether deliveries need a missing right. A missing DELETE only delays retention.
    pub(crate) fn affects_deliveries(&self) -> bool {
        self.is_standby || self.is_read_only || self.rights.iter().any(|(right, ..)| right != "DELETE")
    }

    /// Whether no right is missing.
    pub(crate) fn is_empty(&self) -> bool {
        self.rights.is_empty() && !self.is_standby && !self.is_read_only
    }
}

/// The missing rights, and the statements that grant them.
impl fmt::Display for MissingRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_standby {
            return f.write_str("the database is a standby. Name the primary with --store");
        }
        if self.is_read_only {
            let role = &self.role;
            return write!(
                f,
                "default_transaction_read_only is on for the role {role}. As a superuser, run ALTER ROLE {role} SET default_transaction_read_only = off, and restart the inbox"
            );
        }
        if self.rights.is_empty() {
            return write!(
                f,
                "the role {} has every right that the inbox needs. Read the server's log",
                self.role
            );
        }
        let lacks: Vec<_> = self
            .rights
            .iter()
            .map(|(right, kind, name)| format!("{right} on {} {name}", kind.to_lowercase()))
            .collect();
        let grants: Vec<_> = self
            .rights
            .iter()
            .map(|(right, kind, name)| {
                let name = if ["DATABASE", "SCHEMA"].contains(&kind.as_str()) || name.contains('.') {
                    name.clone()
                } else {
                    format!("{SCHEMA}.{name}")
                };
                format!("GRANT {right} ON {kind} {name} TO {}", self.role)
            })
            .collect();
        write!(f, "the role {} lacks {}. Run {}", self.role, lacks.join(", "), grants.join("; "))
    }
}
