/// What a packet means for the turns of its bot. Pure; see "Packets" in the bot contract.
enum TurnEffect: Equatable, Sendable {
    /// It belongs to no turn, or says nothing about how the turn goes on.
    case none
    /// The turn goes on.
    case progressed
    /// The turn has an answer, and may have more: it is over after a while of quiet.
    case answeredInPart
    /// The turn has its answer.
    case answered
    /// Said to nobody in particular; ends what is open where it was said.
    case noticed(text: String)
    /// The bot says that it has nothing open: what it has not ended by then ends with it.
    case wentIdle
    /// The bot says that it has something open.
    case gotBusy
    /// The bot takes messages from now on. Where it did before, it has restarted itself in place and forgotten them.
    case becameReady
    /// The bot gave up for good.
    case failed(reason: String)
    /// The bot went away with turns open.
    case interrupted(reason: String)

    init(type: String, json: JSONValue) {
        switch type {
        case "user_message", "progress", "tool":
            self = .progressed
        case "assistant_message":
            self = json["final"]?.boolValue ?? true ? .answered : .answeredInPart
        case "notice":
            self = .noticed(text: json["text"]?.stringValue ?? "")
        case "state":
            let open = json["open_turns"]?.integerValue
            if json["state"]?.word == "idle", open == 0 {
                self = .wentIdle
            } else if json["state"]?.word == "busy" || (open ?? 0) > 0 {
                self = .gotBusy
            } else {
                self = .none
            }
        case "ready":
            self = .becameReady
        case "fatal":
            self = .failed(reason: json["error"]?.stringValue ?? "The bot reported a fatal error.")
        case "stopped":
            self = .interrupted(reason: "The bot stopped before it answered.")
        default:
            self = .none
        }
    }
}
