import TestSupport
import Testing
import WireFormat

@Suite struct ReconnectBackoffTests {
    private func ending(
        _ code: SessionCloseCode? = nil,
        livedFor: Duration? = nil,
        afterGoAway: Bool = false
    ) -> SessionEnding {
        SessionEnding(cause: .closedByPeer, closeCode: code, reason: "", afterGoAway: afterGoAway, livedFor: livedFor)
    }

    @Test func theWindowDoublesToItsMaximumAndWaitsAreSpreadOverIt() {
        var random = SeededRandom(seed: 1)
        var backoff = ReconnectBackoff()
        var windows: [Duration] = []
        for _ in 0..<9 {
            windows.append(backoff.window)
            backoff.connectionFailed()
            let delay = backoff.nextDelay(using: &random)
            #expect(delay >= .zero && delay <= windows.last ?? .zero)
        }
        #expect(windows == [1, 2, 4, 8, 16, 32, 60, 60, 60].map { .seconds($0) })
        let delays = (0..<1000).map { _ in backoff.nextDelay(using: &random) }
        #expect(delays.contains { $0 < .seconds(6) } && delays.contains { $0 > .seconds(54) })
    }

    @Test func onlyAStableSessionResetsTheWindow() {
        var random = SeededRandom(seed: 2)
        var backoff = ReconnectBackoff()
        for _ in 0..<4 { _ = backoff.nextDelay(using: &random) }
        backoff.sessionEnded(ending(livedFor: .milliseconds(9999)))
        #expect(backoff.window == .seconds(16))
        backoff.sessionEnded(ending(livedFor: nil))
        #expect(backoff.window == .seconds(16))
        backoff.sessionEnded(ending(livedFor: .seconds(10)))
        #expect(backoff.window == .seconds(1))
    }

    @Test func afterGoAwayTheFirstTryIsImmediateAndOnlyTheFirst() {
        var random = SeededRandom(seed: 3)
        var backoff = ReconnectBackoff()
        backoff.sessionEnded(ending(livedFor: .seconds(60), afterGoAway: true))
        #expect(backoff.nextDelay(using: &random) == .zero)
        backoff.connectionFailed()
        #expect(backoff.nextDelay(using: &random) > .zero)
        // A hub that says GOAWAY to each new session must not be hammered.
        backoff.sessionEnded(ending(livedFor: .seconds(1), afterGoAway: true))
        #expect(backoff.nextDelay(using: &random) > .zero)
        backoff.sessionEnded(ending(livedFor: .seconds(11), afterGoAway: true))
        #expect(backoff.nextDelay(using: &random) == .zero)
    }

    @Test func retryAfterIsHonouredOnceAndWithinReason() {
        var random = SeededRandom(seed: 4)
        var backoff = ReconnectBackoff()
        backoff.connectionFailed(retryAfter: .seconds(30))
        let first = backoff.nextDelay(using: &random)
        #expect(first >= .seconds(30) && first <= .seconds(31))
        #expect(backoff.nextDelay(using: &random) <= .seconds(2))
        backoff.connectionFailed(retryAfter: .seconds(1_000_000))
        #expect(backoff.nextDelay(using: &random) <= ReconnectBackoff.maxRetryAfter + .seconds(60))
    }

    @Test func whereComingBackSoonWouldNotHelpTheWaitIsLong() {
        var random = SeededRandom(seed: 5)
        for code in [SessionCloseCode.replaced, .noCommonVersion, .slowDown] {
            var backoff = ReconnectBackoff()
            backoff.sessionEnded(ending(code, livedFor: .seconds(100), afterGoAway: true))
            let delay = backoff.nextDelay(using: &random)
            #expect(delay >= .seconds(30) && delay <= .seconds(60), "\(code)")
        }
    }

    @Test func credentialProblemsAreStatesAndNotRetried() {
        let table: [(SessionCloseCode, String, CredentialProblem?, Bool)] = [
            (.tokenNotAccepted, "token not accepted", .unknown, false),
            (.tokenNotAccepted, "expired 2 days ago", .expired, false),
            (.revoked, "revoked by ada", .revoked, false),
            (.replaced, "", nil, true), (.protocolError, "", nil, true), (.noCommonVersion, "", nil, true),
            (.slowDown, "", nil, true), (.hubRestarting, "", nil, true), (.timedOut, "", nil, true),
            (SessionCloseCode(rawValue: 4999), "", nil, true),
        ]
        for (code, reason, problem, isRetryable) in table {
            #expect(CredentialProblem(closeCode: code, reason: reason) == problem, "\(code)")
            #expect(code.isRetryable == isRetryable, "\(code)")
            #expect(!code.meaning.isEmpty)
        }
        let local = SessionEnding(cause: .closedHere, closeCode: .revoked, reason: "")
        #expect(local.credentialProblem == nil, "only the hub can tell")
    }

    @Test func theOffsetOfTheShortestRoundTripCounts() {
        var estimator = ClockOffsetEstimator()
        #expect(estimator.offsetMilliseconds == nil)
        estimator.add(remoteUnixMilliseconds: 5000, localUnixMilliseconds: 1000, roundTrip: .seconds(2))
        #expect(estimator.offsetMilliseconds == 5000)
        estimator.add(remoteUnixMilliseconds: 5000, localUnixMilliseconds: 1000, roundTrip: .milliseconds(20))
        #expect(estimator.offsetMilliseconds == 4010)
        estimator.add(remoteUnixMilliseconds: 9000, localUnixMilliseconds: 1000, roundTrip: .seconds(3))
        #expect(estimator.offsetMilliseconds == 4010)
        estimator.add(remoteUnixMilliseconds: .max, localUnixMilliseconds: 1000, roundTrip: .zero)
        #expect(estimator.offsetMilliseconds == 4010)
    }
}
