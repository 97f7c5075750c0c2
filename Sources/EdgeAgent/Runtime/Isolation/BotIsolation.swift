/// What a profile says of the cage of its bots. The node's owner writes profiles, so a hub can neither open nor close it.
struct BotIsolation: Sendable, Equatable {
    /// False: bots run as if they were the agent's own programs.
    var isOn = true
    /// What bots may read and execute besides the system's programs and what the launch command needs.
    var readable: [String] = []
    /// What bots may change besides their own directory.
    var writable: [String] = []
    /// Whether bots may open sockets of this machine's own kind (AF_UNIX), and so talk to its services.
    var opensUnixSockets = false

    static let off = BotIsolation(isOn: false)
}

/// One side of a launch's isolation, and what keeps it.
struct IsolationInForce: Sendable, Equatable, Codable {
    /// What a bot could get at.
    enum Aspect: String, Sendable, Codable, CaseIterable {
        /// Everything outside of its own directory.
        case files
        /// Modes, owners, times and attributes of files outside of its own directory.
        case attributes
        /// What devices can be asked to do.
        case devices
        /// The memory, environment and open files of other processes.
        case processes
        /// Signals to other processes.
        case signals
        /// The kernel's less used doors.
        case systemCalls = "system_calls"
        /// Services of this machine: container engine, service manager, the agent.
        case unixSockets = "unix_sockets"
        /// Other rights than the user's own.
        case privileges
        /// Whether its user is its own.
        case user
    }

    enum Mechanism: String, Sendable, Codable {
        case landlock
        case seccomp
        /// By the rights that the kernel gives each user.
        case user
        case noNewPrivileges = "no_new_privs"
        /// By the container engine.
        case engine
        /// Nothing keeps it.
        case none
    }

    var aspect: Aspect
    var mechanism: Mechanism
    /// What that covers, or why nothing does; one sentence.
    var note: String
}
