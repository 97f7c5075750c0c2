import Foundation
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("What wrong credentials may cost")
struct FailureLimiterTests {
    private let now = ContinuousClock.now
    private let kind = FailureLimiter.Kind.operatorToken

    private func limiter(_ capacity: Int, total: Int = 1000) -> FailureLimiter {
        FailureLimiter(
            [
                kind: .init(
                    perAddress: Pace(capacity: capacity, interval: .seconds(2)),
                    total: Pace(capacity: total, interval: .seconds(1))
                )
            ],
            now: now
        )
    }

    @Test("an address has its own number, then must wait, and others need not")
    func perAddress() {
        let limiter = limiter(3)
        for _ in 0..<3 { #expect(limiter.charge(kind, from: ClientAddress("203.0.113.7"), now: now) == nil) }
        #expect(limiter.charge(kind, from: ClientAddress("203.0.113.7"), now: now) == .seconds(2))
        #expect(limiter.charge(kind, from: ClientAddress("203.0.113.8"), now: now) == nil)
        #expect(limiter.charge(kind, from: ClientAddress("203.0.113.7"), now: now + .seconds(2)) == nil)
    }

    @Test("the /64 networks of one IPv6 site have a number together")
    func perSite() {
        let limiter = limiter(3)
        let tries = (0..<20).map { limiter.charge(kind, from: ClientAddress("2001:db8:1:\($0)::1"), now: now) }
        #expect(tries.prefix(12).allSatisfy { $0 == nil } && tries.dropFirst(12).allSatisfy { $0 != nil })
        #expect(limiter.charge(kind, from: ClientAddress("2001:db8:2::1"), now: now) == nil)
    }

    @Test("all together have a number, and one address cannot use it up")
    func total() {
        let limiter = limiter(3, total: 10)
        for _ in 0..<100 { _ = limiter.charge(kind, from: ClientAddress("203.0.113.7"), now: now) }
        for number in 0..<7 {
            #expect(limiter.charge(kind, from: ClientAddress("198.51.100.\(number)"), now: now) == nil)
        }
        #expect(limiter.charge(kind, from: ClientAddress("198.51.100.99"), now: now) == .seconds(1))
    }

    @Test("kinds have buckets of their own")
    func kinds() {
        let limiter = FailureLimiter(now: now)
        for _ in 0..<1000 { _ = limiter.charge(.signIn, from: ClientAddress("203.0.113.7"), now: now) }
        for kind in FailureLimiter.Kind.allCases where kind != .signIn {
            #expect(limiter.charge(kind, from: ClientAddress("203.0.113.7"), now: now) == nil)
        }
    }

    @Test("a proxy that names no clients is not held for one of them, unless people try codes through it")
    func silentProxy() {
        let limiter = FailureLimiter(now: now)
        let proxy = ClientAddress("127.0.0.1")
        for _ in 0..<100 { #expect(limiter.charge(.nodeToken, from: proxy, now: now) == nil) }
        let codes = (0..<20).map { _ in limiter.charge(.pairingCode, from: proxy, now: now) }
        #expect(codes.prefix(10).allSatisfy { $0 == nil } && codes.dropFirst(10).allSatisfy { $0 != nil })
    }
}

@Suite("Judging credentials")
struct CredentialDeskTests {
    private func desk(_ clock: ManualClock, _ capacity: Int = 2) -> CredentialDesk {
        let hub = HubClock(
            now: { clock.now },
            date: { TestHub.start },
            sleep: { try await clock.sleep(until: $0) }
        )
        let pace = Pace(capacity: capacity, interval: .seconds(60))
        let bounds = FailureLimiter.Bounds(perAddress: pace, total: pace)
        return CredentialDesk(
            failures: FailureLimiter([.signIn: bounds, .pairingCode: bounds], now: clock.now),
            clock: hub
        )
    }

    private func judge(
        _ desk: CredentialDesk,
        _ secret: String,
        _ kind: FailureLimiter.Kind = .signIn
    ) async throws -> CredentialDesk.Judgement<Bool> {
        try await desk.judge(
            kind,
            secret,
            from: ClientAddress("203.0.113.7"),
            isGood: { $0 },
            lookUp: { secret == "good" }
        )
    }

    @Test("a good one passes and is not charged, before and after all tries of its address are used up")
    func goodPasses() async throws {
        let desk = desk(ManualClock())
        for _ in 0..<10 { #expect(try await judge(desk, "good").wait == nil) }
        for number in 0..<5 {
            let judgement = try await judge(desk, "wrong \(number)")
            #expect(!judgement.found && (judgement.wait == nil) == (number < 2))
        }
        let judgement = try await judge(desk, "good")
        #expect(judgement.found && judgement.wait == nil)
    }

    @Test("codes are looked up at a bounded rate, and wait for their turn rather than being turned away")
    func codesArePaced() async throws {
        let clock = ManualClock()
        let desk = desk(clock, 100_000)
        for number in 0..<CredentialDesk.codes.capacity { _ = try await judge(desk, "\(number)", .pairingCode) }
        async let next = judge(desk, "good", .pairingCode)
        await clock.nextSleeper()
        // Waits are counted in whole milliseconds.
        clock.advance(by: .milliseconds(1))
        #expect(try await next.found)
    }
}

@Suite("Taking turns")
struct VerificationLaneTests {
    private static func lane(_ width: Int) -> VerificationLane { VerificationLane(width: width, clock: .system) }

    @Test("lets so many in at once, and the next when one is done")
    func width() async throws {
        let lane = Self.lane(2)
        let (entered, release) = (Signal(), Signal())
        try await withThrowingTaskGroup { group in
            for _ in 0..<3 {
                group.addTask {
                    try await lane.run {
                        entered.wake()
                        try await release.wait(after: 0)
                    }
                }
            }
            while entered.ticket < 2 { try await entered.wait(after: entered.ticket) }
            #expect(entered.ticket == 2)
            release.wake()
            try await group.waitForAll()
        }
        #expect(entered.ticket == 3)
    }

    @Test("who is cancelled while waiting leaves the queue, and the others go on")
    func cancelled() async throws {
        let lane = Self.lane(1)
        let (entered, release) = (Signal(), Signal())
        try await withThrowingTaskGroup { group in
            group.addTask {
                try await lane.run {
                    entered.wake()
                    try await release.wait(after: 0)
                }
            }
            try await entered.wait(after: 0)
            await #expect(throws: CancellationError.self) {
                try await withThrowingTaskGroup { inner in
                    inner.addTask { try await lane.run {} }
                    inner.cancelAll()
                    try await inner.waitForAll()
                }
            }
            release.wake()
            try await group.waitForAll()
        }
        #expect(try await lane.run { true })
    }
}

@Suite("Telling of refusals")
struct RefusalLogTests {
    private let now = ContinuousClock.now

    @Test("the first of a reason at once, and then one line for all of an interval")
    func bounded() {
        var log = RefusalLog()
        let first = log.note(.signInUnknown, address: "a", now: now)
        #expect(first == .init(reason: .signInUnknown, count: 1, address: "a"))
        for number in 0..<100_000 {
            let line = log.note(.signInUnknown, address: "b", now: now + .microseconds(number))
            #expect(line == nil)
        }
        let other = log.note(.slowHead, address: nil, now: now)
        #expect(other?.count == 1, "each reason has its own")
        let later = now + RefusalLog.interval
        let due = log.due(now: later)
        #expect(due == [.init(reason: .signInUnknown, count: 100_000, address: "b")])
        let none = log.due(now: later + RefusalLog.interval)
        #expect(none.isEmpty)
        let next = log.note(.signInUnknown, address: "c", now: later + RefusalLog.interval)
        #expect(next?.count == 1)
    }

    @Test("every reason is in the metrics from the start")
    func counts() async throws {
        let hub = try TestHub()
        hub.services.strangers.refusals.note(.slowBody)
        let text = try await HubMetrics(services: hub.services).text()
        for reason in RefusalReason.allCases {
            let count = reason == .slowBody ? 1 : 0
            #expect(text.contains("controlhub_refusals_total{reason=\"\(reason.rawValue)\"} \(count)\n"))
        }
    }
}
