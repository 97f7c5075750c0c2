import Glibc

/// How many files and connections the process may have open.
enum FileDescriptorLimit {
    /// For the database, logs, snapshots and whatever else is no connection.
    static let reserve = 256
    /// No hub needs more, and tables of the kernel grow with it.
    private static let most = 1 << 20

    /// Raises the limit as far as the system lets it: the one a process starts with is for programs of another age, and
    /// a thousand connections are few.
    ///
    /// - Returns: the limit that is in force; nil where the system does not tell.
    static func raise() -> Int? {
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(resource, &limit) == 0 else { return nil }
        let before = limit.rlim_cur
        limit.rlim_cur = max(before, min(limit.rlim_max, rlim_t(most)))
        return Int(clamping: setrlimit(resource, &limit) == 0 ? limit.rlim_cur : before)
    }
}

extension ConnectionCensus.Settings {
    /// The same, as far as there are descriptors for it. A connection that cannot be accepted is one that nobody can be
    /// told of.
    func within(descriptors: Int?) -> Self {
        guard let descriptors else { return self }
        var settings = self
        settings.total = min(total, max(64, descriptors - FileDescriptorLimit.reserve))
        settings.strangers = min(strangers, max(16, settings.total / 2))
        return settings
    }
}
