import Glibc
import ServiceReport
import WireFormat

/// Root works in the hub's data directory as the user it belongs to.
///
/// What lies there is that user's to arrange while root looks at it, and what root makes there the hub could not open. As that user
/// a command can do nothing which the hub's own user could not do alone.
enum DirectoryOwner {
    /// Takes the owner's rights, where this process has root's and the owner is somebody else.
    ///
    /// - Returns: the owner, where their rights were taken; nil where root works as itself, by `HubFolder` all the same.
    @discardableResult
    static func assume(of path: String) -> uid_t? {
        guard Defence.dataOwner.isUp, geteuid() == 0, let facts = FileFacts(path: path, followsLinks: true),
            facts.owner != 0
        else { return nil }
        var groups = [facts.group]
        guard setgroups(groups.count, &groups) == 0, setegid(facts.group) == 0, seteuid(facts.owner) == 0 else {
            return nil
        }
        // A service of systemd with a user of its own (`DynamicUser`) has its directory below one that only root may pass
        // through: then there is no way but root's.
        guard FileFacts(path: path + "/.", followsLinks: true) != nil else {
            regain()
            return nil
        }
        return facts.owner
    }

    /// Goes back to root's rights; for what lies elsewhere.
    static func regain() {
        guard getuid() == 0, geteuid() != 0 else { return }
        _ = seteuid(0)
        _ = setegid(0)
    }
}
