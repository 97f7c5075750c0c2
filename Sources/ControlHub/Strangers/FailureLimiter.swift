import Synchronization
import WireFormat

/// Bounds what credentials that are not good may cost.
///
/// A credential is looked up first and charged only where it is not good, so one that is good passes whatever others have
/// tried, also from the same address. Who is charged beyond a bound is told to wait; nothing is written for it.
final class FailureLimiter: Sendable {
    /// Kinds of credentials. Each has buckets of its own, so that none can be used up for another.
    enum Kind: CaseIterable, Sendable {
        /// At the nodes' endpoint.
        case nodeToken
        /// Operators' tokens and cookies, with any call.
        case operatorToken
        case signIn
        case pairingCode
    }

    struct Bounds: Sendable, Equatable {
        /// One IPv4 address, or one /64 of IPv6.
        var perAddress: Pace
        /// One /48 of IPv6.
        var perSite: Pace
        /// Everybody together.
        var total: Pace

        /// A site may do four times what one address may.
        init(perAddress: Pace, total: Pace) {
            self.perAddress = perAddress
            perSite = Pace(capacity: perAddress.capacity * 4, interval: perAddress.interval / 4)
            self.total = total
        }
    }

    private struct Buckets: Sendable {
        var addresses: BucketMap<String>
        var sites: BucketMap<String>
        var total: TokenBucket

        init(_ bounds: Bounds, now: ContinuousClock.Instant) {
            addresses = BucketMap(bounds.perAddress)
            sites = BucketMap(bounds.perSite)
            total = TokenBucket(bounds.total, now: now)
        }

        /// The narrowest first: what one address has used up costs the others nothing.
        mutating func take(_ address: String?, _ site: String?, now: ContinuousClock.Instant) -> Duration? {
            address.flatMap { addresses.take($0, now: now) }
                ?? site.flatMap { sites.take($0, now: now) }
                ?? total.take(now: now)
        }
    }

    private let buckets: Mutex<[Kind: Buckets]>

    /// - Parameter bounds: other than the usual ones.
    init(_ bounds: [Kind: Bounds] = [:], now: ContinuousClock.Instant) {
        let all = Kind.allCases.map { ($0, Buckets(bounds[$0] ?? $0.bounds, now: now)) }
        buckets = Mutex(Dictionary(uniqueKeysWithValues: all))
    }

    /// Counts a credential that is not good.
    ///
    /// - Returns: nil within the bounds; otherwise how long who sent it should wait.
    func charge(_ kind: Kind, from address: ClientAddress, now: ContinuousClock.Instant) -> Duration? {
        // Who holds a token behind a proxy that names nobody is told what is wrong with it, however many others do.
        let key = kind.isTriedByPeople ? address.tryKey : address.limitKey
        guard Defence.failureLimits.isUp else { return nil }
        return buckets.withLock { $0[kind]?.take(key, address.widerKey, now: now) }
    }

    /// The answer to somebody who must wait.
    static func refusal(_ what: String, _ wait: Duration) -> HubError {
        HubError(
            .rateLimited,
            "\(what) Wait \(max(1, Int(saturating: wait.seconds.rounded(.up)))) s and try again.",
            retryAfter: wait
        )
    }
}

extension FailureLimiter.Kind {
    /// Typed or copied by a person, or guessed by a program.
    var isTriedByPeople: Bool { self == .signIn || self == .pairingCode }

    var bounds: FailureLimiter.Bounds {
        switch self {
        // Tokens of 256 bits cannot be guessed; this bounds the work and the lines that wrong ones cause.
        case .nodeToken:
            .init(
                perAddress: Pace(capacity: 30, interval: .seconds(2)),
                total: Pace(capacity: 300, interval: .milliseconds(50))
            )
        case .operatorToken:
            .init(
                perAddress: Pace(capacity: 60, interval: .seconds(1)),
                total: Pace(capacity: 600, interval: .milliseconds(25))
            )
        // People mistype. A refused pairing is kept for operators to see, so the total is also how often that writes.
        case .signIn, .pairingCode:
            .init(
                perAddress: Pace(capacity: 10, interval: .seconds(6)),
                total: Pace(capacity: 100, interval: .milliseconds(200))
            )
        }
    }
}
