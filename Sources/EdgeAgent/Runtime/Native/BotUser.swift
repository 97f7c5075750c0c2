import Glibc
import WireFormat

/// The user a bot runs as, with all the groups that user is in.
struct BotUser: Sendable, Equatable {
    var uid: uid_t
    var gid: gid_t
    var groups: [gid_t]

    /// Looks up a profile's user.
    ///
    /// - Returns: nil for the agent's own, for which there is nothing to switch.
    /// - Throws: `programUnavailable` where there is no such user, `profileNotUsable` where the agent may not become another.
    static func resolve(_ name: String?) throws(RuntimeError) -> BotUser? {
        guard let name, !name.isEmpty else { return nil }
        guard let user = lookUp(name) else {
            throw RuntimeError(
                // A directory service may not have come up yet.
                .programUnavailable,
                "this machine has no user \(name); create it (useradd --system \(name)) or correct the profile"
            )
        }
        guard user.uid != geteuid() else { return nil }
        guard geteuid() == 0 else {
            throw RuntimeError(
                .profileNotUsable,
                "the profile's bots run as user \(name), which only an agent that runs as root can see to; this one "
                    + "runs as uid \(geteuid())"
            )
        }
        return user
    }

    private static func lookUp(_ name: String) -> BotUser? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16 << 10) { buffer in
            var entry = passwd()
            var found: UnsafeMutablePointer<passwd>?
            guard let texts = buffer.baseAddress else { return nil }
            let code =
                if let number = uid_t(decimal: name) {
                    getpwuid_r(number, &entry, texts, buffer.count, &found)
                } else {
                    getpwnam_r(name, &entry, texts, buffer.count, &found)
                }
            guard code == 0, found != nil else { return nil }
            return BotUser(uid: entry.pw_uid, gid: entry.pw_gid, groups: groups(of: entry))
        }
    }

    private static func groups(of entry: passwd) -> [gid_t] {
        var count: Int32 = 64
        while count <= 65_536 {
            var groups = [gid_t](repeating: 0, count: Int(clamping: count))
            if getgrouplist(entry.pw_name, entry.pw_gid, &groups, &count) >= 0 {
                return Array(groups[..<Int(clamping: count)])
            }
        }
        return [entry.pw_gid]
    }
}
