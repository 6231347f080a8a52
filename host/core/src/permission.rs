//! Who may do what in a channel. Pure: facts in, verdict out. `ops` gathers the facts and obeys the verdict.

use crate::Role;

/// What an actor is, apart from any channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// A plain user or bot.
    User,
    /// A user who administers the deployment.
    Superuser,
    /// The deployment itself.
    System,
}

/// The facts about one actor and one channel that the rules need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// What the actor is.
    pub standing: Standing,
    /// The actor's role in the channel; none for a non-member.
    pub role: Option<Role>,
    /// Whether everyone may read the channel.
    pub is_public: bool,
    /// Whether the set of people is fixed.
    pub is_direct_message: bool,
}

/// What an actor wants to do in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// See the channel, its members and its messages.
    Read,
    /// Post, reply, react, type, pin.
    Write,
    /// Be in the room of a voice channel: members, and whoever could join by itself.
    Speak,
    /// Change name, description, visibility; delete others' messages.
    Manage,
    /// Delete the channel.
    Delete,
    /// Become a member by oneself.
    Join,
    /// Cease to be a member.
    Leave,
    /// Add another user with this role.
    Add(Role),
    /// Remove another member of this role.
    Remove(Role),
    /// Change a member's role from the first to the second.
    ChangeRole(Role, Role),
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Go ahead.
    Allowed,
    /// The actor knows the channel but may not do this.
    Forbidden,
    /// The actor may not even know that the channel exists: answer as if it did not.
    Hidden,
}

impl Access {
    /// Whether the actor can read the channel: members can, and everyone if it is public. Superusers
    /// administer the deployment; they don't read other people's private channels.
    pub fn can_read(&self) -> bool {
        self.role.is_some() || self.is_public || self.standing == Standing::System
    }

    /// The rules. `Hidden` for every action in a channel that the actor can't read.
    pub fn verdict(&self, action: Action) -> Verdict {
        if !self.can_read() {
            return Verdict::Hidden;
        }
        if self.allows(action) { Verdict::Allowed } else { Verdict::Forbidden }
    }

    fn allows(&self, action: Action) -> bool {
        if self.standing == Standing::System {
            return true;
        }
        let at_least = |role| self.role >= Some(role);
        // A superuser moderates what everyone can read anyway.
        let moderates = self.standing == Standing::Superuser && self.is_public;
        match action {
            Action::Read => true,
            Action::Write => self.role.is_some(),
            Action::Speak => self.role.is_some() || (self.is_public && !self.is_direct_message),
            // People, name and life of a direct message are fixed by who takes part in it.
            _ if self.is_direct_message => false,
            Action::Manage => at_least(Role::Admin) || moderates,
            Action::Delete => at_least(Role::Owner) || moderates,
            Action::Join => self.is_public,
            Action::Leave => self.role.is_some(),
            Action::Add(role) => {
                let may_invite = at_least(Role::Admin) || (self.is_public && self.role.is_some());
                (may_invite && (role == Role::Member || at_least(Role::Admin) && at_least(role))) || moderates
            }
            Action::Remove(role) => (at_least(Role::Admin) && at_least(role)) || moderates,
            Action::ChangeRole(from, to) => {
                (at_least(Role::Admin) && at_least(from) && at_least(to)) || moderates
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::*;
    use Role::*;
    use Verdict::*;

    const ACTIONS: [Action; 13] = [
        Read,
        Write,
        Speak,
        Manage,
        Delete,
        Join,
        Leave,
        Add(Member),
        Add(Admin),
        Add(Owner),
        Remove(Admin),
        Remove(Owner),
        ChangeRole(Member, Admin),
    ];

    fn row(standing: Standing, role: Option<Role>, is_public: bool, is_direct_message: bool) -> String {
        let access = Access { standing, role, is_public, is_direct_message };
        let letter = |action| match access.verdict(action) {
            Allowed => 'a',
            Forbidden => 'f',
            Hidden => '-',
        };
        ACTIONS.into_iter().map(letter).collect()
    }

    #[test]
    fn the_table_of_who_may_do_what() {
        use Standing::*;
        // One letter per action of ACTIONS: allowed, forbidden, - for hidden.
        let table = [
            (User, None, true, false, "afaffafffffff"),
            (User, Some(Member), true, false, "aaaffaaafffff"),
            (User, Some(Admin), true, false, "aaaafaaaafafa"),
            (User, Some(Owner), true, false, "aaaaaaaaaaaaa"),
            (User, None, false, false, "-------------"),
            (User, Some(Member), false, false, "aaafffaffffff"),
            (User, Some(Admin), false, false, "aaaaffaaafafa"),
            (User, Some(Owner), false, false, "aaaaafaaaaaaa"),
            (User, Some(Member), false, true, "aaaffffffffff"),
            (User, None, false, true, "-------------"),
            (Superuser, None, true, false, "afaaaafaaaaaa"),
            (Superuser, None, false, false, "-------------"),
            (Superuser, Some(Member), false, false, "aaafffaffffff"),
            (System, None, false, true, "aaaaaaaaaaaaa"),
        ];
        for (standing, role, is_public, is_dm, expected) in table {
            let got = row(standing, role, is_public, is_dm);
            assert_eq!(got, expected, "{standing:?} {role:?} public={is_public} dm={is_dm}");
        }
    }
}
