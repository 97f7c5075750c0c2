/// What a supervisor says about itself: `supervisor.json` among the agent's files of the bot.
struct SupervisorState: Sendable, Codable, Equatable {
    static let fileName = "supervisor.json"
    /// Held (flock) for as long as the supervisor lives.
    static let lockName = "supervisor.lock"
    /// The supervisor's own standard output and error.
    static let errorFileName = "supervisor.err"
    /// The stop sequence that was asked for, as `StopSequence.encoded`; written before the signal, overrides the plan.
    static let stopFileName = "stop.request"

    var launchID: String
    var supervisor: ProcessIdentity
    var bot: ProcessIdentity
    /// Directories of the launch's control groups by hierarchy; see `ControlGroupLayout`.
    var controlGroups: [String: String]?

    enum CodingKeys: String, CodingKey {
        case launchID = "launch_id"
        case supervisor
        case bot
        case controlGroups = "control_groups"
    }

    /// Written by hand: the supervisor has no need of a JSON encoder in its memory.
    var json: [UInt8] {
        func process(_ identity: ProcessIdentity) -> String {
            #"{"pid":\#(identity.pid),"start_time":\#(identity.startTime)}"#
        }
        let groups = (controlGroups ?? [:]).sorted { $0.key < $1.key }
            .map { "\(JSONText.quoted($0.key)):\(JSONText.quoted($0.value))" }
        let text =
            #"{"launch_id":\#(JSONText.quoted(launchID)),"supervisor":\#(process(supervisor)),"bot":\#(process(bot)),"#
            + #""control_groups":{\#(groups.joined(separator: ","))}}"#
        return Array(text.utf8)
    }
}
