import Testing
import WireFormat

@Suite struct TestSettingsTests {
    @Test func nothingSetMeansTheDefaults() {
        let settings = TestSettings(environment: [:], prefix: "HUB")
        #expect(settings.sendingOrder == .byPriority)
        #expect(settings.versions == ProtocolVersion.supported)
    }

    @Test func eachProgramHasVariablesOfItsOwn() {
        let environment = ["HUB_TEST_SENDING_ORDER": "first-come", "EDGE_TEST_PROTOCOL_VERSIONS": "1-2"]
        let (hub, agent) = (
            TestSettings(environment: environment, prefix: "HUB"),
            TestSettings(environment: environment, prefix: "EDGE")
        )
        #expect(hub.sendingOrder == .firstComeFirstServed)
        #expect(hub.versions == ProtocolVersion.supported)
        #expect(agent.sendingOrder == .byPriority)
        #expect(agent.versions == 1...2)
    }

    @Test(arguments: ["", "2", "2-1", "a-b", "1-2-3"])
    func aRangeThatIsNoneChangesNothing(text: String) {
        let settings = TestSettings(environment: ["HUB_TEST_PROTOCOL_VERSIONS": text], prefix: "HUB")
        #expect(settings.versions == ProtocolVersion.supported)
    }

    @Test func theLongestWaitBeforeDialingAgainCanBeShortened() {
        let settings = TestSettings(environment: ["EDGE_TEST_LONGEST_WAIT_MS": "250"], prefix: "EDGE")
        #expect(settings.backoff == ReconnectBackoff(initial: .milliseconds(250), maximum: .milliseconds(250)))
        let none = TestSettings(environment: ["EDGE_TEST_LONGEST_WAIT_MS": "0"], prefix: "EDGE")
        #expect(none.backoff == ReconnectBackoff())
    }
}
