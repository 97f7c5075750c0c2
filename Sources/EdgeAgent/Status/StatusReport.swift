/// What `edge-agent status` tells, also as JSON. Times are milliseconds since 1970.
struct StatusReport: Codable, Sendable, Equatable {
    struct Agent: Codable, Sendable, Equatable {
        var isRunning: Bool
        var pid: Int32?
        var version: String
        var sinceUnixMs: UInt64?
        var stateDirectory: String

        enum CodingKeys: String, CodingKey {
            case isRunning = "running"
            case pid
            case version
            case sinceUnixMs = "since_unix_ms"
            case stateDirectory = "state_dir"
        }
    }

    struct Link: Codable, Sendable, Equatable {
        enum State: String, Codable, Sendable {
            case connected
            case connecting
            /// Will dial again by itself.
            case waiting
            case credentialProblem = "credential_problem"
            /// No agent runs, so nobody dials.
            case noAgent = "no_agent"
            case notPaired = "not_paired"
        }

        var state: State
        /// Since when it is up, or is not.
        var sinceUnixMs: UInt64?
        var fault: LinkFault
        var reason: String
        var failedTries: Int
        var nextTrySeconds: Double?
        var sessionEpoch: UInt64?
        var roundTripMs: Double?
        var clockOffsetMs: Int64?

        enum CodingKeys: String, CodingKey {
            case state
            case sinceUnixMs = "since_unix_ms"
            case fault
            case reason
            case failedTries = "failed_tries"
            case nextTrySeconds = "next_try_s"
            case sessionEpoch = "session_epoch"
            case roundTripMs = "rtt_ms"
            case clockOffsetMs = "hub_clock_offset_ms"
        }
    }

    struct Hub: Codable, Sendable, Equatable {
        var url: String
        var version: String?
    }

    struct Node: Codable, Sendable, Equatable {
        var id: String
        var name: String
    }

    struct Bot: Codable, Sendable, Equatable {
        var id: String
        var name: String
        var phase: String
        var reason: String
        var sinceUnixMs: UInt64?
        var pid: Int32?
        var restarts: UInt32
        /// What keeps the running launch to itself; nil where it does not run or that is not known.
        var isolation: [IsolationInForce]?

        enum CodingKeys: String, CodingKey {
            case id
            case name
            case phase
            case reason
            case sinceUnixMs = "since_unix_ms"
            case pid
            case restarts
            case isolation
        }
    }

    struct Problem: Codable, Sendable, Equatable {
        /// As in `NodeProblem` of the protocol.
        var code: String
        var message: String
    }

    struct Disk: Codable, Sendable, Equatable {
        var availableBytes: UInt64
        var totalBytes: UInt64
        /// All bots' logs.
        var logBytes: UInt64

        enum CodingKeys: String, CodingKey {
            case availableBytes = "available_bytes"
            case totalBytes = "total_bytes"
            case logBytes = "log_bytes"
        }
    }

    var agent: Agent
    var link: Link
    var hub: Hub?
    var node: Node?
    var bots: [Bot]
    /// Nil where the journal cannot be read; `journalProblem` says why.
    var journal: JournalDepth?
    var journalProblem: String?
    var disk: Disk?
    /// What keeps the agent from doing all it should.
    var problems: [Problem]
    /// Where bots' control groups are; nil while no agent runs.
    var placement: BotPlacement?
    /// Path of the policy's file; nil: the standard rules hold.
    var policyFile: String?

    enum CodingKeys: String, CodingKey {
        case agent
        case link
        case hub
        case node
        case bots
        case journal
        case journalProblem = "journal_problem"
        case disk
        case problems
        case placement = "control_groups"
        case policyFile = "policy_file"
    }
}
