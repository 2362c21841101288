//! Sign-in secrets for sites: set at the centre, mirrored down to the sites they are for, as verifiers only.

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use thiserror::Error;
use tokio_postgres::{GenericClient, Transaction};
use uuid::Uuid;

use super::error::StoreError;

/// Fewest digits of a PIN.
pub const PIN_DIGITS_MIN: usize = 6;
/// Fewest characters of a passphrase.
pub const PASSPHRASE_CHARACTERS_MIN: usize = 12;
/// Most bytes of either.
pub const SECRET_BYTES_MAX: usize = 1024;
/// The length of a salt in bytes.
pub const SALT_BYTES: usize = 16;

/// Memory in KiB and passes of argon2id (OWASP password storage cheat sheet, second choice).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// A secret that is too weak or cannot be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SecretError {
    /// Too short for what it is.
    #[error(
        "the secret is too short: a PIN has {PIN_DIGITS_MIN} or more digits, a passphrase {PASSPHRASE_CHARACTERS_MIN} or more characters"
    )]
    Weak,
    /// Longer than anybody types.
    #[error("the secret is longer than {SECRET_BYTES_MAX} bytes")]
    Long,
    /// The hash function failed.
    #[error("the secret cannot be hashed")]
    Hash,
}

/// A person at a site that a secret may be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workplace {
    /// The person.
    pub user: Uuid,
    /// The site.
    pub site: Uuid,
    /// The site's tenant.
    pub tenant: Uuid,
    /// The site's name.
    pub site_name: String,
    /// The tenant's slug.
    pub tenant_slug: String,
}

/// The verifier of a secret, as a PHC string.
pub fn verifier(secret: &str, salt: &[u8; SALT_BYTES]) -> Result<String, SecretError> {
    let digits = secret.chars().all(|character| character.is_ascii_digit());
    match secret.chars().count() {
        _ if secret.len() > SECRET_BYTES_MAX => return Err(SecretError::Long),
        count if digits && count < PIN_DIGITS_MIN => return Err(SecretError::Weak),
        count if !digits && count < PASSPHRASE_CHARACTERS_MIN => return Err(SecretError::Weak),
        _ => {}
    }
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|_| SecretError::Hash)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password_with_salt(secret.as_bytes(), salt).map_err(|_| SecretError::Hash)?;
    Ok(hash.to_string())
}

/// Stores one verifier for each workplace.
pub async fn set(client: &mut tokio_postgres::Client, workplaces: &[(Workplace, String)]) -> Result<(), StoreError> {
    let tx = client.transaction().await?;
    for (workplace, verifier) in workplaces {
        upsert(&tx, workplace, verifier).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Whether somebody has this address.
pub async fn user_exists(client: &impl GenericClient, email: &str) -> Result<bool, StoreError> {
    let statement = "select exists (select from public.users where lower(email) = lower($1))";
    Ok(client.query_one(statement, &[&email]).await?.get(0))
}

/// The sites at which a person may sign in: those they are assigned to, and all of a tenant that they own or administer.
pub async fn workplaces(client: &impl GenericClient, email: &str) -> Result<Vec<Workplace>, StoreError> {
    let statement = "
      select person.id, site.id, site.tenant_id, site.name, tenant.slug
      from public.users as person
      cross join public.sites as site
      join public.tenants as tenant on tenant.id = site.tenant_id
      where lower(person.email) = lower($1) and (
        exists (
          select from public.user_site_assignments as assignment
          where assignment.user_id = person.id and assignment.site_id = site.id
        )
        or exists (
          select from public.user_tenant_associations as membership
          where membership.user_id = person.id and membership.tenant_id = site.tenant_id
            and membership.role in ('owner', 'admin') and membership.status = 'active'
        )
      )
      order by tenant.slug, site.name, site.id";
    let rows = client.query(statement, &[&email]).await?;
    let workplace = |row: &tokio_postgres::Row| Workplace {
        user: row.get(0),
        site: row.get(1),
        tenant: row.get(2),
        site_name: row.get(3),
        tenant_slug: row.get(4),
    };
    Ok(rows.iter().map(workplace).collect())
}

async fn upsert(tx: &Transaction<'_>, workplace: &Workplace, verifier: &str) -> Result<(), StoreError> {
    let statement = "insert into sync.credentials (tenant_id, user_id, site_id, verifier) values ($1, $2, $3, $4)
      on conflict (user_id, site_id) do update set verifier = excluded.verifier, tenant_id = excluded.tenant_id";
    tx.execute(statement, &[&workplace.tenant, &workplace.user, &workplace.site, &verifier]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_secrets_are_refused_and_others_hashed() {
        let salt = [7; SALT_BYTES];
        for weak in ["", "12345", "elevenchars"] {
            assert_eq!(verifier(weak, &salt), Err(SecretError::Weak), "{weak}");
        }
        assert_eq!(verifier(&"x".repeat(2000), &salt), Err(SecretError::Long));
        for strong in ["123456", "twelve chars"] {
            assert!(verifier(strong, &salt).unwrap().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{strong}");
        }
    }
}
