//! The log of administrative acts: written, read, never changed.

use patchbay_core::{Timestamp, UserId};
use sqlx::FromRow;

use crate::{Conn, Page, StoreError, conn::on, query::Query};

/// An act about to be recorded.
#[derive(Clone, Debug)]
pub struct NewAuditEntry {
    /// `KIND.VERB`.
    pub action: String,
    /// Who acted; none for the operator at the machine.
    pub actor_id: Option<UserId>,
    /// On what, `KIND:ID`.
    pub target: String,
    /// A JSON object.
    pub detail: String,
    /// From which address.
    pub ip: Option<String>,
}

/// An act that was recorded.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct AuditRow {
    /// Rises with time.
    pub id: i64,
    /// `KIND.VERB`.
    pub action: String,
    /// Who acted; none for the operator at the machine.
    pub actor_id: Option<i64>,
    /// What they were called then.
    pub actor_username: Option<String>,
    /// On what, `KIND:ID`.
    pub target: String,
    /// A JSON object.
    pub detail: String,
    /// From which address.
    pub ip: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub created_at: i64,
}

/// Whose acts are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditActor {
    /// A user's.
    User(UserId),
    /// Those of the operator at the machine.
    Operator,
}

impl Conn {
    /// Records an act under the name that its actor has now.
    pub async fn insert_audit_entry(
        &mut self,
        new: &NewAuditEntry,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "INSERT INTO audit_log (action, actor_id, actor_username, target, detail, ip, created_at)
                 VALUES ($1, $2, (SELECT username FROM users WHERE id = $2), $3, $4, $5, $6)",
            )
            .bind(&new.action)
            .bind(new.actor_id.map(|id| id.0))
            .bind(&new.target)
            .bind(&new.detail)
            .bind(&new.ip)
            .bind(now.0)
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(())
    }

    /// The recorded acts, newest first: all, or those of one action, of one actor.
    pub async fn audit_log(
        &mut self,
        action: Option<&str>,
        actor: Option<AuditActor>,
        page: &Page,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let mut query = Query::new(
            "SELECT id, action, actor_id, actor_username, target, detail, ip, created_at FROM audit_log
             WHERE TRUE",
        );
        if let Some(action) = action {
            query.push(" AND action = ").bind(action);
        }
        match actor {
            Some(AuditActor::User(id)) => {
                query.push(" AND actor_id = ").bind(id.0);
            }
            Some(AuditActor::Operator) => {
                query.push(" AND actor_id IS NULL");
            }
            None => {}
        }
        page.push(&mut query, "id", true);
        self.all(query).await
    }
}
