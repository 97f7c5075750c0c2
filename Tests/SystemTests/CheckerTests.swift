import Testing

extension SystemTests {
    /// A check that cannot fail checks nothing: each mistake built in on purpose is found.
    @Suite("The checks of the simulation can fail", .serialized)
    struct CheckerTests {
        typealias Kind = SafetyChecker.Kind

        @Test(
            "a mistake is caught, where the faults come that bring it to light",
            arguments: [
                // The hole shows when the agent forgets what is missing, or before that when a later packet is stored.
                (.acknowledgesBeforeStoring, [.packetLost, .packetOutOfOrder], [.hubKill]),
                // A session that was replaced is ended by the packets that are refused; without that it stays as it is.
                (.storesWithoutKey, [.packetStoredTwice, .notLive], [.cut, .cutAtByte]),
                (.keepsReplacedSession, [.twoLiveSessions], [.halfOpen]),
                (.finishesCommandWhenSent, [.commandLost], []),
                (.forgetsCommandUnderWay, [.notLive], [.cut]),
                (.actsBeforeNoting, [.commandRunTwice], [.killBetweenSteps, .agentKill]),
                (.forgetsPacketsWhenSent, [.packetLost], [.cut]),
                (.storesLogCursorLater, [.packetStoredTwice], [.agentKill, .killBetweenSteps]),
                (.trustsCopiedJournal, [.packetLost, .packetOutOfOrder, .notLive], [.rollback]),
                (.mergesClonedJournals, [.packetLost, .packetOutOfOrder, .packetStoredTwice], [.clone]),
                (.believesFormerHost, [.wrongSpeaker], [.formerHost]),
                (.believesClock, [.endedEarly], [.hubClock]),
                (.restoresUnmarked, [.presentStopped, .runningTwice], [.restore, .move]),
                (.forgetsWhatItLost, [.notLive], [.restore]),
                (.takesClosedForEmpty, [.workspaceLost], [.move, .files]),
                (.dropsLinksOut, [.workspaceLost], [.move, .files]),
                (.takesLostForCarried, [.workspaceLost], [.move, .files]),
                (.goesOnWithoutLastCopy, [.workspaceLost], [.move, .files]),
                (.leavesOutUnnamed, [.workspaceLost], [.move, .files]),
                (.losesMessages, [.messageBoundary], []),
                (.ignoresBackpressure, [.limitExceeded], [.slowReader]),
                (.agentIgnoresDeadlines, [.notLive], [.halfOpen]),
                (.redialsAtOnce, [.dialStorm], [.hubRestart]),
            ] as [(Defect, [Kind], [FaultPlan.Fault])]
        )
        func caught(defect: Defect, by kinds: [Kind], under faults: [FaultPlan.Fault]) async throws {
            var seed: UInt64 = 1
            while seed <= 400 {
                let outcomes = await SimulationTests.runAll(seed..<seed + 4) {
                    Simulation.Options(
                        defects: [defect],
                        adjust: { plan in plan.faults += faults.filter { !plan.faults.contains($0) } }
                    )
                }
                let found = outcomes.compactMap { outcome in outcome.violation.map { (outcome.seed, $0) } }
                if let (seed, violation) = found.first {
                    #expect(kinds.contains(violation.kind), "seed \(seed): \(violation)")
                    say("simulate: \(defect.rawValue) is caught by seed \(seed): \(violation)")
                    return
                }
                seed += 4
            }
            Issue.record("400 seeds did not find: \(defect.rawValue)")
        }
    }
}
