import Logging
import Synchronization
import WireFormat

/// What the hub knows of a connection it attends to. Idle, it has no task: the session's news start one.
final class SessionAttendance: Sendable {
    /// How far the session has come.
    enum Phase: Sendable {
        /// Hello has not come, or is not accepted yet.
        case greeting
        case attending(Attended)
        /// Refused, or ended and left.
        case over
    }

    /// A session that was accepted.
    struct Attended: Sendable {
        let entry: LiveSession
        let pump: CommandPump
        let listener: CommandListener
        let logger: Logger
        var intake: PacketIntake?
        /// Why the hub ended the session, where a part of it failed.
        var failure: String?
    }

    private struct State {
        var flag = WorkFlag()
        var phase = Phase.greeting
    }

    let request: NodeRequest
    private let state = Mutex(State())

    init(_ request: NodeRequest) {
        self.request = request
    }

    /// Whether a task is to be started that takes the session's news.
    func wake() -> Bool { state.withLock { $0.flag.wake() } }

    /// See `WorkFlag`.
    func look() { state.withLock { $0.flag.look() } }

    /// See `WorkFlag`.
    func rest() -> Bool { state.withLock { $0.flag.rest() } }

    var phase: Phase { state.withLock { $0.phase } }

    /// Goes on to `phase`. What the one before held, streams among it, ends outside the lock: its end may be news, which takes it.
    func enter(_ phase: Phase) {
        let former = state.withLock { state in
            defer { state.phase = phase }
            return state.phase
        }
        withExtendedLifetime(former) {}
    }

    /// Changes what is known of an accepted session; does nothing in another phase.
    func update(_ change: @Sendable (inout Attended) -> Void) {
        state.withLock { state in
            guard case .attending(var attended) = state.phase else { return }
            change(&attended)
            state.phase = .attending(attended)
        }
    }
}
