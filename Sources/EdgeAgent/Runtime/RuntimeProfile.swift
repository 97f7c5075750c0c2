/// A named way to run bots on this node, from the agent's configuration.
struct RuntimeProfile: Sendable, Equatable {
    var name: String
    /// The program to launch, see `CommandTemplate`.
    var command: CommandTemplate
    /// Added to what the contract gives every bot; wins over it.
    var environment: [String: String] = [:]
    /// Time between SIGTERM and SIGKILL.
    var grace: Duration = .seconds(10)
    /// After this long without being ready the status says so. The bot goes on and may become ready later.
    var readyTimeout: Duration = .seconds(60)
    /// False: the bot writes no packets and takes no chat; it is ready once it has lived for `settleTime`.
    var speaksPackets = true
    var settleTime: Duration = .seconds(5)
    /// Told to the hub; empty where unknown.
    var engine = ""
    var engineVersion = ""
    var logLimits = LogSegmentWriter.Limits()
}
