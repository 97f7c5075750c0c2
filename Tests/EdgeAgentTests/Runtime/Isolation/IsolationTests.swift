import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

/// What launches come to on kernels of all kinds, and what an earlier agent's files become.
@Suite("Isolation")
struct IsolationTests {
    private func features(_ landlock: Int32, filters: Bool = true) -> IsolationFeatures {
        IsolationFeatures(
            landlock: landlock,
            landlockShortfall: landlock > 0 ? "" : "no Landlock",
            filtersCalls: filters,
            filterShortfall: filters ? "" : "no seccomp",
            switchesUsers: true
        )
    }

    private func open(_ sides: [IsolationInForce]) -> Set<IsolationInForce.Aspect> {
        Set(sides.filter { $0.mechanism == .none }.map(\.aspect))
    }

    @Test("Each version of Landlock is told with what it leaves open")
    func versions() {
        let cage = Cage()
        func left(_ version: Int32, filters: Bool = true) -> Set<IsolationInForce.Aspect> {
            open(
                features(version, filters: filters).inForce(
                    cage,
                    hasOwnUser: false,
                    answersCalls: version > 0 && filters
                )
            )
        }
        #expect(left(7) == [.user] && left(6) == [.user])
        #expect(left(5) == [.user, .signals] && left(1) == [.user, .signals])
        #expect(left(0) == [.user, .signals, .files, .attributes, .devices, .processes])
        #expect(left(7, filters: false) == [.user, .attributes, .systemCalls, .unixSockets])
        let old = features(1).inForce(cage, hasOwnUser: false, answersCalls: true)
        #expect(old.first { $0.aspect == .files }?.note.contains("cannot be moved") == true)
    }

    @Test("The kernel takes the rules of each version it has")
    func rules() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let known = IsolationFeatures.current().landlock
        let cage = Cage(readable: ["/usr", "/etc/passwd", "/nowhere"], writable: [bench.path], devices: ["/dev/null"])
        for version in 0...max(0, known) {
            let ruleset = try LandlockRuleset(cage, version: version)
            #expect((ruleset.descriptor >= 0) == (version > 0))
        }
    }

    @Test("A user of its own stands in where the kernel has no Landlock; every aspect is told once")
    func ownUser() {
        let sides = features(0).inForce(Cage(), hasOwnUser: true, answersCalls: false)
        #expect(open(sides) == [.devices])
        #expect(sides.map(\.aspect).count == IsolationInForce.Aspect.allCases.count)
        #expect(Set(sides.map(\.aspect)) == Set(IsolationInForce.Aspect.allCases))
    }

    @Test("A profile that opens or switches off is told as such")
    func profile() {
        let opened = features(7).inForce(Cage(opensUnixSockets: true), hasOwnUser: false, answersCalls: true)
        #expect(open(opened) == [.user, .unixSockets])
        #expect(
            open(features(7).inForce(nil, hasOwnUser: false, answersCalls: false))
                == Set(IsolationInForce.Aspect.allCases)
        )
    }

    @Test("An earlier agent's files are moved out of the bot's directory, also while a launch holds its lock")
    func movesFormerFiles() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let former = bench.directory("a") + "/.agent"
        for path in [bench.directory("a"), former, former + "/logs"] { mkdir(path, 0o700) }
        try Files.replace(former + "/launch.plan", with: Array("x".utf8), mode: 0o600)
        let before = try BotDirectory(root: bench.bots, botID: "a")
        #expect(before.control == former)
        let lock = try #require(before.takeLock())
        defer { close(lock) }
        BotDirectory.moveControls(beneath: bench.bots)
        let after = try BotDirectory(root: bench.bots, botID: "a")
        #expect(after.control == bench.bots + "-control/a" && after.isSupervised)
        #expect(try Files.read(after.launch) == Array("x".utf8))
        // For an agent that is put back, and a supervisor of its time.
        #expect(try Files.read(former + "/launch.plan") == Array("x".utf8))
        #expect(
            BotDirectory.path(ofLogs: after.logs) == after.path && BotDirectory.path(ofLogs: before.logs) == after.path
        )
    }

    @Test("The holder's proof is made once, and nothing but it is right")
    func proof() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        #expect(HolderProof.read(bench.path) == "")
        let proof = try HolderProof.readOrMake(bench.path)
        #expect(try HolderProof.readOrMake(bench.path) == proof && HolderProof.read(bench.path) == proof)
        #expect(HolderProof.isRight(proof, proof))
        for wrong in ["", String(proof.dropLast()), String(proof.reversed())] {
            #expect(!HolderProof.isRight(wrong, proof))
        }
        #expect(!HolderProof.isRight("", ""))
    }

    @Test("A launch tells what keeps it to itself, and the kernel keeps it")
    func launch() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let features = IsolationFeatures.current()
        let backend = try bench.backend()
        let script =
            "cat ../../bots-control/a/launch.plan || echo no plan; echo $TMPDIR; touch x && chmod 600 x && echo own"
        _ = try await backend.prepare(botID: "a", configuration: [], profile: bench.shell(script))
        let request = LaunchRequest(botID: "a", name: "a", launchID: "l", profile: bench.shell(script), chatPort: 1)
        let handle = try await backend.start(request)
        await backend.waitUntilEnded(handle)
        let records = bench.records()
        let started = records.lazy.compactMap { SupervisorEvent($0.text) }.first {
            $0.event == SupervisorEvent.Name.started
        }
        let told = try #require(started?.isolation)
        #expect(Set(told.map(\.aspect)) == Set(IsolationInForce.Aspect.allCases))
        let lines = records.filter { $0.stream == .stdout }.map(\.string)
        #expect(lines.suffix(2) == [bench.directory("a") + "/tmp", "own"])
        if features.landlock > 0 { #expect(lines.first == "no plan") }
    }
}
