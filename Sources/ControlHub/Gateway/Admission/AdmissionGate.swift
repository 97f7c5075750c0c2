import Foundation
import Synchronization

/// Who may open a session now: all nodes together, a node that comes back too often, and addresses that try tokens.
///
/// Nodes behind one NAT or proxy share an address, so an address is only ever judged by tokens the hub does not know,
/// and a token that was good before passes whatever its neighbours do.
final class AdmissionGate: Sendable {
    struct Settings: Sendable, Equatable {
        var handshakes = AdmissionMachine.Settings()
        /// Sessions one node opens at once before it is asked to slow down.
        var sessionsPerNode = 20
        /// After that, one each.
        var sessionInterval = Duration.seconds(5)
        /// Unknown tokens one address may present at once.
        var failuresPerAddress = 30
        /// After that, one each.
        var failureInterval = Duration.seconds(2)
    }

    /// Buckets kept at once for nodes and for addresses; beyond it those that are full again are forgotten, then all.
    private static let maximumBuckets = 20_000
    /// Digests of good tokens remembered; beyond it they are learnt anew.
    private static let maximumKnownTokens = 200_000

    /// The first half of a token's digest.
    private struct TokenKey: Hashable {
        let high: UInt64
        let low: UInt64

        init(_ digest: Data) {
            high = digest.prefix(8).reduce(0) { $0 << 8 | UInt64(clamping: $1) }
            low = digest.dropFirst(8).prefix(8).reduce(0) { $0 << 8 | UInt64(clamping: $1) }
        }
    }

    private struct State {
        var handshakes: AdmissionMachine
        var known: Set<TokenKey> = []
        var failures: [String: TokenBucket] = [:]
        var sessions: [NodeID: TokenBucket] = [:]
        /// Handshakes that were turned away and not answered yet.
        var owedAnswers = 0
        var random = SystemRandomNumberGenerator()
    }

    private let settings: Settings
    private let clock: HubClock
    private let state: Mutex<State>

    init(_ settings: Settings = Settings(), clock: HubClock) {
        self.settings = settings
        self.clock = clock
        state = Mutex(State(handshakes: AdmissionMachine(settings.handshakes, now: clock.now())))
    }

    /// Judges an opening handshake, before anything is looked up. Where it answers false, ask `turnAway`.
    func admit(token: String, address: ClientAddress) -> Bool {
        let key = TokenKey(SecretBytes.digest(String(token.prefix(256))))
        let now = clock.now()
        return state.withLock { state in
            if !state.known.contains(key), isBlocked(&state, address, now) {
                state.owedAnswers += 1
                return false
            }
            let isAdmitted = state.handshakes.admit(now: now)
            if !isAdmitted { state.owedAnswers += 1 }
            return isAdmitted
        }
    }

    /// When the handshake that was refused last may come back; nil where none was.
    func turnAway() -> Duration? {
        let now = clock.now()
        return state.withLock { state in
            guard state.owedAnswers > 0 else { return nil }
            state.owedAnswers -= 1
            return state.handshakes.nextTurn(now: now, using: &state.random)
        }
    }

    /// The token turned out to be a node's.
    func accepted(token: String) {
        let key = TokenKey(SecretBytes.digest(token))
        state.withLock { state in
            if state.known.count >= Self.maximumKnownTokens { state.known = [] }
            state.known.insert(key)
        }
    }

    /// The token turned out to be nobody's, or not to be good any more.
    func refused(token: String, address: ClientAddress) {
        let key = TokenKey(SecretBytes.digest(String(token.prefix(256))))
        let now = clock.now()
        state.withLock { state in
            state.known.remove(key)
            // A proxy that names no clients speaks for all of them.
            guard let name = address.limitKey else { return }
            Self.makeRoom(in: &state.failures, now: now)
            _ = state.failures[name, default: failureBucket(now)].take(now: now)
        }
    }

    /// How long a node must wait for its next session; nil where it may have it now.
    func pace(_ node: NodeID) -> Duration? {
        let now = clock.now()
        return state.withLock { state in
            Self.makeRoom(in: &state.sessions, now: now)
            let fresh = TokenBucket(capacity: settings.sessionsPerNode, interval: settings.sessionInterval, now: now)
            return state.sessions[node, default: fresh].take(now: now)
        }
    }

    /// Admits nobody from now on.
    func drain() {
        state.withLock { $0.handshakes.drain() }
    }

    private func failureBucket(_ now: ContinuousClock.Instant) -> TokenBucket {
        TokenBucket(capacity: settings.failuresPerAddress, interval: settings.failureInterval, now: now)
    }

    private func isBlocked(_ state: inout State, _ address: ClientAddress, _ now: ContinuousClock.Instant) -> Bool {
        guard let name = address.limitKey, var bucket = state.failures[name] else { return false }
        // Only a failure costs; this is a look.
        return bucket.take(now: now) != nil
    }

    private static func makeRoom<Key>(in buckets: inout [Key: TokenBucket], now: ContinuousClock.Instant) {
        guard buckets.count >= maximumBuckets else { return }
        buckets = buckets.filter { !$0.value.isFull(now: now) }
        if buckets.count >= maximumBuckets { buckets = [:] }
    }
}
