import Testing

@testable import ControlHub

@Suite("How long a peer may be slow")
struct ProgressBudgetTests {
    private let now = ContinuousClock.now

    @Test("standing still uses it up, and waiting for nobody does not")
    func still() {
        var budget = ProgressBudget(grace: .seconds(30), bytesPerSecond: 1024)
        #expect(budget.deadline == nil)
        budget.wait(now: now)
        #expect(budget.deadline == now + .seconds(30))
        budget.rest(now: now + .seconds(10))
        #expect(budget.deadline == nil)
        budget.wait(now: now + .seconds(100))
        #expect(budget.deadline == now + .seconds(120))
    }

    @Test("dripping a byte a second is as good as standing still")
    func drip() {
        var budget = ProgressBudget(grace: .seconds(30), bytesPerSecond: 1024)
        budget.wait(now: now)
        var time = now
        while let deadline = budget.deadline, deadline > time, time < now + .seconds(100) {
            time += .seconds(1)
            budget.progress(1, now: time)
        }
        #expect(time < now + .seconds(32))
    }

    @Test("the slowest rate that is allowed goes on for ever, and what was fast does not pay for what hangs")
    func earned() {
        var budget = ProgressBudget(grace: .seconds(30), bytesPerSecond: 1024)
        budget.wait(now: now)
        for second in 1...1000 { budget.progress(1024, now: now + .seconds(second)) }
        #expect(budget.deadline == now + .seconds(1030))
        budget.progress(1 << 30, now: now + .seconds(1000))
        #expect(budget.deadline == now + .seconds(1030))
    }
}

@Suite("How long an HTTP connection may keep the hub waiting")
struct HTTPPatienceTests {
    private let now = ContinuousClock.now
    private let limits = HTTPPatience.Limits()

    private func reason(_ patience: HTTPPatience, isKnown: Bool = false) -> RefusalReason? {
        patience.deadline(isKnown: isKnown)?.reason
    }

    @Test("between requests a stranger has less time than who is known, and a head that has begun does not count")
    func idle() throws {
        var patience = HTTPPatience(limits, now: now)
        #expect(try #require(patience.deadline(isKnown: false)) == (now + limits.strangerIdle, .idle))
        // Bytes of a head that is not whole: a read that brings no part.
        patience.readAsked(now: now)
        patience.readCompleted(now: now + .seconds(5))
        #expect(try #require(patience.deadline(isKnown: true)) == (now + limits.idle, .idle))
    }

    @Test("a body that does not come is the peer's fault only while the hub is ready for it")
    func body() throws {
        var patience = HTTPPatience(limits, now: now)
        patience.readAsked(now: now)
        patience.headRead(now: now)
        #expect(try #require(patience.deadline(isKnown: true)) == (now + limits.reading, .slowBody))
        patience.bodyRead(16 << 10, now: now + .seconds(1))
        patience.readCompleted(now: now + .seconds(1))
        #expect(reason(patience, isKnown: true) == nil, "whoever takes the body is slow, not who sends it")
        patience.readAsked(now: now + .seconds(1000))
        #expect(try #require(patience.deadline(isKnown: true)).at == now + .seconds(1000) + limits.reading)
        patience.bodyEnded()
        #expect(reason(patience, isKnown: true) == nil)
    }

    @Test("an answer that nobody takes ends, and one that is taken slowly enough does not")
    func answer() throws {
        var patience = HTTPPatience(limits, now: now)
        patience.headRead(now: now)
        patience.bodyEnded()
        patience.wrote(1 << 20)
        patience.look(pendingBytes: 1 << 20, now: now)
        #expect(try #require(patience.deadline(isKnown: true)) == (now + limits.writing, .slowReader))
        patience.look(pendingBytes: (1 << 20) - (60 << 10), now: now + .seconds(29))
        #expect(try #require(patience.deadline(isKnown: true)).at == now + .seconds(59))
        patience.look(pendingBytes: (1 << 20) - (60 << 10), now: now + .seconds(59))
        #expect(try #require(patience.deadline(isKnown: true)).at <= now + .seconds(59))
    }

    @Test("a stream of events is under no limit while its reader takes them, and under that for writing when not")
    func stream() throws {
        var patience = HTTPPatience(limits, now: now)
        patience.headRead(now: now)
        patience.bodyEnded()
        for round in 0..<100 {
            patience.wrote(20)
            patience.look(pendingBytes: 0, now: now + .seconds(round * 10))
            #expect(reason(patience, isKnown: true) == nil)
        }
        patience.wrote(20)
        patience.look(pendingBytes: 20, now: now + .seconds(1000))
        #expect(try #require(patience.deadline(isKnown: true)) == (now + .seconds(1030), .slowReader))
    }

    @Test("what a stranger asks for must be over in a time, however busy it looks")
    func exchange() throws {
        var patience = HTTPPatience(limits, now: now)
        patience.headRead(now: now)
        patience.bodyEnded()
        for second in 0..<60 {
            patience.wrote(8 << 10)
            patience.look(pendingBytes: 16 << 10, now: now + .seconds(second))
        }
        #expect(try #require(patience.deadline(isKnown: false)) == (now + limits.strangerExchange, .slowStranger))
        patience.answered(now: now + .seconds(60))
        #expect(reason(patience) == .slowStranger, "its bytes have not left")
        patience.look(pendingBytes: 0, now: now + .seconds(61))
        #expect(try #require(patience.deadline(isKnown: false)) == (now + .seconds(61) + limits.strangerIdle, .idle))
    }
}
