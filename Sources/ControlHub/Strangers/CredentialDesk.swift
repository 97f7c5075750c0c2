import Foundation
import Synchronization
import WireFormat

/// Where every credential is judged that somebody sends: looked up first, and charged only where it is not good.
///
/// Credentials that were good before are looked up at once. The others take turns, so that a flood of wrong ones cannot
/// take all of the database's readers from those who are let in.
final class CredentialDesk: Sendable {
    /// What came of a credential.
    struct Judgement<Found: Sendable>: Sendable {
        let found: Found
        /// Set where it is not good and there were too many such: how long who sent it should wait.
        let wait: Duration?
    }

    /// Half of the database's readers.
    private static let width = 2
    /// Codes have 59 bits, so how many are looked up is bounded, see docs/security.md. Waiting is at most half a second:
    /// a thousand strangers' connections have a try each.
    static let codes = Pace(capacity: 200, interval: .microseconds(500))
    /// Digests of good credentials remembered; beyond it they are learnt again.
    private static let maximumKnown = 200_000

    /// The first half of a digest.
    private struct Key: Hashable {
        let high: UInt64
        let low: UInt64

        init(_ digest: Data) {
            high = digest.prefix(8).reduce(0) { $0 << 8 | UInt64(clamping: $1) }
            low = digest.dropFirst(8).prefix(8).reduce(0) { $0 << 8 | UInt64(clamping: $1) }
        }
    }

    private let failures: FailureLimiter
    private let clock: HubClock
    private let tokens: VerificationLane
    private let codes: VerificationLane
    private let known = Mutex<Set<Key>>([])

    init(failures: FailureLimiter, clock: HubClock) {
        self.failures = failures
        self.clock = clock
        tokens = VerificationLane(width: Self.width, clock: clock)
        codes = VerificationLane(width: 1, pace: Self.codes, clock: clock)
    }

    /// Judges a credential. Throws what `lookUp` throws, and `CancellationError`.
    ///
    /// - Parameters:
    ///   - secret: the credential; only a digest of it is kept, and only of a good one.
    ///   - isGood: what of the result means that it is good.
    func judge<Found: Sendable>(
        _ kind: FailureLimiter.Kind,
        _ secret: String,
        from address: ClientAddress,
        isGood: (Found) -> Bool,
        lookUp: @Sendable () async throws -> Found
    ) async throws -> Judgement<Found> {
        // What an attack takes away: every try is charged, as if it were wrong.
        let early = Defence.goodCredentialsPass.isUp ? nil : failures.charge(kind, from: address, now: clock.now())
        let key = Key(SecretBytes.digest(String(secret.prefix(256))))
        let found: Found
        if known.withLock({ $0.contains(key) }) {
            found = try await lookUp()
        } else {
            found = try await (kind == .pairingCode ? codes : tokens).run(lookUp)
        }
        guard !isGood(found) else {
            // A code is good once.
            if kind != .pairingCode { remember(key) }
            return Judgement(found: found, wait: early)
        }
        _ = known.withLock { $0.remove(key) }
        return Judgement(found: found, wait: early ?? failures.charge(kind, from: address, now: clock.now()))
    }

    private func remember(_ key: Key) {
        known.withLock { known in
            if known.count >= Self.maximumKnown { known = [] }
            known.insert(key)
        }
    }
}
