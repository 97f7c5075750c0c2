import FoundationEssentials

/// What a supervisor is to run: `launch.json` in the bot's directory, written by the agent, mode 0600.
struct LaunchPlan: Sendable, Codable, Equatable {
    static let fileName = "launch.json"

    /// Random, names this launch.
    var launchID: String
    /// Absolute path of the program.
    var executable: String
    var arguments: [String]
    var workingDirectory: String
    /// The whole environment of the bot, also the token of its chat endpoint.
    var environment: [String: String]
    /// A stdout line that begins with this is a monitor packet.
    var packetPrefix: String
    /// Time between SIGTERM and SIGKILL.
    var graceMilliseconds: Int
    var segmentBytes: Int
    var segmentCount: Int

    enum CodingKeys: String, CodingKey {
        case launchID = "launch_id"
        case executable
        case arguments
        case workingDirectory = "working_directory"
        case environment
        case packetPrefix = "packet_prefix"
        case graceMilliseconds = "grace_ms"
        case segmentBytes = "segment_bytes"
        case segmentCount = "segment_count"
    }
}

/// What a supervisor says about itself: `supervisor.json` in the bot's directory.
struct SupervisorState: Sendable, Codable, Equatable {
    static let fileName = "supervisor.json"
    /// Held (flock) for as long as the supervisor lives.
    static let lockName = "supervisor.lock"
    /// The supervisor's own standard output and error.
    static let errorFileName = "supervisor.err"
    /// Grace of the stop that was asked for, in milliseconds; written before the signal, overrides the plan.
    static let graceFileName = "stop.grace"

    var launchID: String
    var supervisor: ProcessIdentity
    var bot: ProcessIdentity

    enum CodingKeys: String, CodingKey {
        case launchID = "launch_id"
        case supervisor
        case bot
    }
}
