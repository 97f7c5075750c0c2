import Glibc
import Synchronization
import Testing

@testable import EdgeAgent

/// The holder as a process, on whatever control groups this machine has; `Tests/Boot` runs it under a real systemd.
@Suite("The holder of bots", .timeLimit(.minutes(3)), .serialized)
struct HolderTests {
    private func start(_ script: String, on bench: BotWorkbench, _ backend: NativeRuntimeBackend) async throws
        -> LaunchHandle
    {
        let profile = bench.shell(script)
        try await backend.prepare(botID: "a", configuration: [], profile: profile)
        return try await backend.start(
            LaunchRequest(botID: "a", name: "A", launchID: "launch-1", profile: profile, chatPort: 1)
        )
    }

    @Test("It starts supervisors, which go on when it is killed")
    func outlived() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let holder = try bench.startHolder()
        let backend = try bench.backend(holder: holder)
        let handle = try await start("echo up; exec sleep 600", on: bench, backend)
        try await bench.waitForLine("up")
        let pid = bench.holderPID.load(ordering: .relaxed)
        let supervisor = try #require(handle.supervisor)
        #expect(SystemProcesses.entry(supervisor.pid)?.parent == pid)
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
        #expect(supervisor.isAlive)
        #expect(await backend.adopt(botID: "a") == handle)
        await backend.stop(handle, sequence: StopSequence(steps: []))
        await backend.waitUntilEnded(handle)
    }

    @Test("Without it the agent starts the bot itself, after a short wait for one that was there")
    func fallsBack() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        _ = try bench.startHolder()
        bench.endHolder()
        let holder = HolderClient(stateDirectory: bench.path, patience: .milliseconds(200), logger: BotWorkbench.quiet)
        #expect(access(bench.path + "/holder.sock", F_OK) == 0)
        let backend = try bench.backend(holder: holder)
        let handle = try await start("exit 7", on: bench, backend)
        await backend.waitUntilEnded(handle)
        #expect(bench.records().last.flatMap { SupervisorEvent($0.text) }?.code == 7)
        #expect(
            SystemProcesses.entry(try #require(handle.supervisor).pid)?.parent
                != bench.holderPID.load(ordering: .relaxed)
        )
    }

    @Test("SIGTERM stops the bots in their own way before it ends")
    func stopsBots() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let holder = try bench.startHolder()
        let backend = try bench.backend(holder: holder)
        let handle = try await start(
            "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done",
            on: bench,
            backend
        )
        try await bench.waitForLine("up")
        let pid = bench.holderPID.exchange(0, ordering: .relaxed)
        kill(pid, SIGTERM)
        var status: Int32 = -1
        waitpid(pid, &status, 0)
        #expect(status == 0)
        #expect(try #require(handle.supervisor).isAlive == false)
        let records = bench.records()
        #expect(records.contains { $0.string == "bye" })
        #expect(records.last.flatMap { SupervisorEvent($0.text) }?.code == 3)
        #expect(access(bench.path + "/holder.sock", F_OK) == 0)
    }

    @Test("It executes a new program with the same pid, and what it started before stays its own")
    func renews() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let program = bench.path + "/program"
        try bench.install(program)
        let holder = try bench.startHolder(program)
        let backend = try bench.backend(holder: holder)
        let handle = try await start("echo up; exec sleep 600", on: bench, backend)
        try await bench.waitForLine("up")
        let before = try #require(await holder.connect()).holder
        try bench.install(program)
        let answer = try #require(await holder.connect()).ask(.renew)
        #expect(answer?.error == "")
        let after = try #require(await holder.connect()).holder
        #expect(after.pid == before.pid && after.program != before.program)
        #expect(after.program == FileIdentity(program) && after.programPath == program)
        let supervisor = try #require(handle.supervisor)
        #expect(supervisor.isAlive && SystemProcesses.entry(supervisor.pid)?.parent == after.pid)
        supervisor.signal(SIGTERM)
        await backend.waitUntilEnded(handle)
        // Waited for, too: it is no zombie.
        _ = try #require(await holder.connect())
        #expect(SystemProcesses.entry(supervisor.pid) == nil)
    }

    @Test("A program that cannot hold bots does not take its place", arguments: ["#!/bin/sh\nexit 64\n", "no program"])
    func refusesToRenew(_ content: String) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let program = bench.path + "/program"
        try bench.install(program)
        let holder = try bench.startHolder(program)
        let before = try #require(await holder.connect()).holder
        try Files.replace(program, with: Array(content.utf8), mode: 0o755)
        let answer = try #require(await holder.connect()).ask(.renew)
        #expect(answer?.error.contains(program) == true)
        #expect(try #require(await holder.connect()).holder == before)
    }

    @Test("There is one for a state directory")
    func isAlone() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        _ = try bench.startHolder()
        var pid: pid_t = 0
        let nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC)
        defer { close(nowhere) }
        let code = SupervisorProcess.spawn(
            BotWorkbench.supervisorExecutable,
            &pid,
            errors: nowhere,
            arguments: [Holder.command, bench.path],
            environment: [:]
        )
        #expect(code == 0)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
        #expect(status >> 8 == 75)
    }

    @Test("What it cannot read, and a caller that says nothing, keep it from nothing")
    func survivesNonsense() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let holder = try bench.startHolder()
        let socket = HolderSocket.at(bench.path)
        let silent = try #require(socket.connect())
        defer { close(silent) }
        for nonsense in [
            [0], Array("request=spawn".utf8) + [0], [UInt8](repeating: 255, count: 60_000), Array("end=".utf8) + [0],
        ] {
            let caller = try #require(socket.connect())
            defer { close(caller) }
            #expect(HolderSocket.send(nonsense, files: [0, 1, 2], to: caller))
            let answer = HolderSocket.receive(from: caller).flatMap { HolderAnswer($0.message) }
            // Nil where the silent one was waited for first; the next caller is answered.
            #expect(answer?.error != "")
        }
        let connection = try #require(await holder.connect())
        #expect(connection.ask(.spawn(arguments: [], environment: [:]))?.error.isEmpty == false)
        #expect(connection.ask(.spawn(arguments: ["x"], environment: [:]), files: [0])?.error.isEmpty == false)
        #expect(connection.holder.pid == bench.holderPID.load(ordering: .relaxed))
    }

    @Test("It starts nothing for who cannot read its key")
    func asksForProof() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let connection = try #require(await bench.startHolder().connect())
        for proof in ["", String(repeating: "0", count: 64)] {
            let request = HolderRequest.spawn(arguments: ["x"], environment: [:], proof: proof)
            #expect(connection.ask(request, files: [0, 1])?.error.contains("holder.key") == true)
        }
        #expect(SystemProcesses.descendants(of: bench.holderPID.load(ordering: .relaxed)).isEmpty)
    }

    @Test("Requests and answers are the same after they were sent, also what no version knows yet")
    func roundTrips() throws {
        let requests: [HolderRequest] = [
            .describe, .renew, .spawn(arguments: ["supervise", "/a b=c"], environment: ["PATH": "/bin:=", "E": ""]),
            .spawn(arguments: ["a"], environment: [:], proof: "p"),
        ]
        for request in requests { #expect(HolderRequest(request.encoded) == request) }
        var answer = HolderAnswer()
        answer.pid = 7
        answer.version = "1"
        answer.program = FileIdentity(device: .max, number: 1)
        answer.programPath = "/usr/local/bin/edge-agent"
        answer.layout = ControlGroupLayout(bases: ["unified": "/sys/fs/cgroup/x", "memory": "/m"], shortfall: "why")
        answer.spawned = ProcessIdentity(pid: 9, startTime: .max)
        #expect(HolderAnswer(answer.encoded) == answer)
        var newer = PlanFields()
        newer.add("request", "describe")
        newer.add("colour", "blue")
        #expect(HolderRequest(newer.bytes) == .describe)
        for cut in 0..<(answer.encoded.count - 1) { #expect(HolderAnswer(Array(answer.encoded[..<cut])) == nil) }
        for bad in ["-1:5", "99999999999:1", "x:y", "1", ""] {
            var fields = PlanFields()
            fields.add("spawned", bad)
            fields.add("pid", bad)
            #expect(HolderAnswer(fields.bytes)?.spawned == nil)
        }
    }
}
