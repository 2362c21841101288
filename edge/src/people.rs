//! Who somebody is in the tenant, and what that allows.
//!
//! Viewers read. Members change tasks and devices of the sites they are assigned to. Admins and owners change
//! everything of the tenant, and so does a system administrator who is a member of it.

use rusqlite::Connection;
use sync::sqlite::error::StoreError;
use sync::sqlite::people::{self, PersonRow};
use uuid::Uuid;

use crate::refusal::Refusal;

/// A person with an active membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user's id.
    pub id: Uuid,
    /// The address they sign in with.
    pub email: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// The kind of account.
    pub user_type: String,
    /// The role in the tenant, as it is called there.
    pub role_name: String,
    role: Role,
    standing: Standing,
    /// The sites they are assigned to.
    pub sites: Vec<Uuid>,
}

/// What somebody is to the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Member,
    /// Whoever had an emergency code.
    Emergency,
    Operator,
}

/// What a role allows, the least first. Nobody else compares roles: what somebody may do is asked of [`Person`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// To read.
    Viewer,
    /// To change tasks and devices of assigned sites.
    Member,
    /// To change everything of the tenant.
    Admin,
}

impl Person {
    /// The operator of the box, who is nobody of the tenant and may do everything.
    pub fn operator() -> Self {
        Self {
            id: Uuid::nil(),
            email: "the operator of this box".to_owned(),
            first_name: None,
            last_name: None,
            user_type: "service_account".to_owned(),
            role_name: "operator".to_owned(),
            role: Role::Admin,
            standing: Standing::Operator,
            sites: Vec::new(),
        }
    }

    /// Whoever had an emergency code: nobody of the tenant, who reads everything and changes nothing.
    pub fn emergency() -> Self {
        Self {
            email: "emergency code".to_owned(),
            role_name: "viewer".to_owned(),
            role: Role::Viewer,
            standing: Standing::Emergency,
            ..Self::operator()
        }
    }

    /// Whose name writes and audit records carry; `None` for nobody of the tenant.
    pub fn user(&self) -> Option<Uuid> {
        (self.standing == Standing::Member).then_some(self.id)
    }

    /// The same person with the rights that they have now.
    ///
    /// # Errors
    /// [`Refusal::MembershipEnded`], [`Refusal::Store`].
    pub fn as_of_now(&self, tx: &Connection, tenant: Uuid) -> Result<Self, Refusal> {
        match self.standing {
            Standing::Member => find(tx, tenant, self.id)?.ok_or(Refusal::MembershipEnded),
            Standing::Emergency | Standing::Operator => Ok(self.clone()),
        }
    }

    /// Whether they may see and end the sessions of a user; their own is theirs anyway.
    pub fn oversees(&self, user: Uuid) -> bool {
        self.administers() || self.user() == Some(user)
    }

    /// The name, or the address when there is none.
    pub fn name(&self) -> String {
        let names: Vec<&str> = [&self.first_name, &self.last_name].into_iter().flatten().map(String::as_str).collect();
        if names.is_empty() { self.email.clone() } else { names.join(" ") }
    }

    /// Whether there is anything that they may change.
    pub fn writes(&self) -> bool {
        self.role > Role::Viewer
    }

    /// Whether everything of the tenant is theirs to change.
    pub fn administers(&self) -> bool {
        self.role >= Role::Admin
    }

    /// Whether tasks and devices at a site are theirs to change.
    pub fn works_at(&self, site: Uuid) -> bool {
        self.administers() || self.role == Role::Member && self.sites.contains(&site)
    }

    /// Whether a task is theirs to change. One without a site is its assignee's.
    pub fn works_on(&self, site: Option<Uuid>, assignee: Option<Uuid>) -> bool {
        match site {
            Some(site) => self.works_at(site),
            None => self.administers() || self.role == Role::Member && assignee == Some(self.id),
        }
    }

    /// Refuses unless everything of the tenant is theirs to change.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`].
    pub fn require_admin(&self, what: &str) -> Result<(), Refusal> {
        if self.administers() {
            return Ok(());
        }
        Err(Refusal::Forbidden(format!("only admins and owners may {what}; your role is {}", self.role_name)))
    }

    /// The refusal of a change somewhere they do not work.
    pub fn not_theirs(&self, what: &str) -> Refusal {
        Refusal::Forbidden(match self.role {
            Role::Viewer => "your role is viewer: you may read, and change nothing".to_owned(),
            _ => format!("you are not assigned to the site of this {what}: ask an admin to assign you, or to do it"),
        })
    }
}

/// The person with an id, if their membership is active.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn find(tx: &Connection, tenant: Uuid, user: Uuid) -> Result<Option<Person>, StoreError> {
    Ok(people::find(tx, tenant, user)?.map(person))
}

/// The person with an e-mail address in any case, if their membership is active.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn find_by_email(tx: &Connection, tenant: Uuid, email: &str) -> Result<Option<Person>, StoreError> {
    Ok(people::find_by_email(tx, tenant, email)?.map(person))
}

fn person(row: PersonRow) -> Person {
    let role = match row.role.as_str() {
        _ if row.user_type == "system_admin" => Role::Admin,
        "owner" | "admin" => Role::Admin,
        "member" => Role::Member,
        // A role that this edge has never heard of allows no more than reading.
        _ => Role::Viewer,
    };
    let PersonRow { id, email, first_name, last_name, user_type, role: role_name, sites } = row;
    Person { id, email, first_name, last_name, user_type, role_name, role, standing: Standing::Member, sites }
}
