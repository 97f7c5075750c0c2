/// Which `EdgeRuntimeBackend` runs a bot.
enum BackendKind: String, Sendable, Codable, CaseIterable {
    case native
    case docker
}

/// A named way to run bots on this node, from the agent's configuration.
struct RuntimeProfile: Sendable, Equatable {
    var name: String
    var backend = BackendKind.native
    /// The program to launch, see `CommandTemplate`.
    var command: CommandTemplate
    /// For the backend `docker`; `command` may be empty then: the image's own.
    var container: ContainerSettings?
    /// Added to what the contract gives every bot; wins over it.
    var environment: [String: String] = [:]
    /// Name or number of the user the bot runs as; nil for the agent's own. Any other needs an agent that runs as root.
    var user: String?
    /// Of the backend `native`; a container is its own.
    var isolation = BotIsolation()
    var limits = ResourceLimits()
    var restart = RestartPolicy.always
    var stop = StopSequence()
    /// After this long without being ready the status says so. The bot goes on and may become ready later.
    var readyTimeout: Duration = .seconds(60)
    /// False: the bot writes no packets and takes no chat; it is ready once it has lived for `settleTime`.
    var speaksPackets = true
    var settleTime: Duration = .seconds(5)
    var delivery = MessageChannel.http
    /// How long a bot may write nothing about a message that it has before nobody waits for its answer any longer; zero:
    /// for ever, nil: as long as the hub says.
    var turnLimit: Duration?
    /// Watches a bot that is ready. Nil, or a bot that speaks no packets: nothing is watched but its process.
    var liveness: LivenessCheck? = LivenessCheck()
    /// Told to the hub; empty where unknown.
    var engine = ""
    var engineVersion = ""
    var logLimits = LogSegmentWriter.Limits()
    /// Why no bot can be started by it, where that was known when the profile was made; one sentence.
    var problem: String?
}

/// How messages get to a bot.
enum MessageChannel: String, Sendable, CaseIterable {
    /// By its chat endpoint.
    case http
    /// As lines of JSON on its standard input.
    case stdin
}

/// How a ready bot is asked whether it is still well, by its `/healthz`.
struct LivenessCheck: Sendable, Equatable {
    /// Between two questions.
    var interval: Duration = .seconds(30)
    /// This many failures in a row and the bot counts as unwell: its status says so and messages wait.
    var failures = 3
    /// Whether a bot that is unwell is stopped, and started again as the restart policy says.
    var restarts = false
}
