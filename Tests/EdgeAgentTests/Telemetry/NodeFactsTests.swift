import Testing
import WireFormat

@testable import EdgeAgent

@Suite("NodeFacts")
struct NodeFactsTests {
    private static let machineID = "0123456789abcdef0123456789abcdef"

    private func read(_ folder: FixtureFolder) -> NodeFacts {
        NodeFacts.read(paths: folder.paths) { "hash of \(String(decoding: $0, as: UTF8.self))" }
    }

    @Test("The facts fill their fields of the message and no other")
    func fillsHello() throws {
        let folder = try FixtureFolder()
        try folder.write("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n")
        try folder.write("etc/machine-id", Self.machineID + "\n")
        try folder.write("sys/kernel/random/boot_id", "1b4e28ba-2fa1-11d2-883f-0016d3cca427\n")
        var hello = WireHello()
        hello.nodeID = "n_1"
        read(folder).fill(&hello)
        #expect(hello.os == "linux")
        #expect(hello.osVersion == "Debian GNU/Linux 12 (bookworm)")
        #expect(hello.bootID == "1b4e28ba-2fa1-11d2-883f-0016d3cca427")
        #expect(hello.machineFingerprint == "hash of \(Self.machineID)")
        #expect(!hello.architecture.isEmpty)
        #expect(!hello.kernel.isEmpty)
        #expect(!hello.hostName.isEmpty)
        #expect(hello.nodeID == "n_1")
    }

    @Test("Where /etc has no os-release, /usr/lib has the distribution's")
    func secondPlace() throws {
        let folder = try FixtureFolder()
        try folder.write("usr-lib/os-release", "PRETTY_NAME=Void\n")
        #expect(read(folder).osVersion == "Void")
    }

    @Test("A machine that tells nothing is a Linux without fingerprint")
    func nothing() throws {
        let facts = try read(FixtureFolder())
        #expect(facts.osVersion == "Linux")
        #expect(facts.bootID.isEmpty)
        #expect(facts.machineFingerprint.isEmpty)
    }

    @Test(
        "What is no machine id has no fingerprint",
        arguments: ["", "\n", "uninitialized\n", "0123", "0123456789ABCDEF0123456789ABCDEF\n"]
    )
    func noMachineID(text: String) throws {
        let folder = try FixtureFolder()
        try folder.write("etc/machine-id", text)
        #expect(read(folder).machineFingerprint.isEmpty)
    }
}
