import Foundation
import Testing

/// The doctor in a network of its own, with a name server that answers as badly as the test wants.
@Suite("Names and addresses")
struct NameServiceTests {
    /// Answers `missing.test` with "no such name", `broken.test` with "server failed", and anything else with an IPv6
    /// address on which nobody answers and an IPv4 address of the network's own. Then it runs the doctor.
    private static let stage = """
        import os, socket, struct, subprocess, sys, threading
        for command in ("link set lo up", "link add v0 type veth peer name v1", "link set v1 up", "link set v0 up",
                        "address add 10.9.0.1/24 dev v0", "address add fd09::1/64 dev v0 nodad"):
            subprocess.run(["ip"] + command.split(), check=True)
        folder, program, *arguments = sys.argv[1:]
        with open(f"{folder}/resolv.conf", "w") as file:
            file.write("nameserver 127.0.0.1\\noptions timeout:1 attempts:1\\n")
        subprocess.run(["mount", "--bind", f"{folder}/resolv.conf", "/etc/resolv.conf"], check=True)
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 53))
        def serve():
            while True:
                query, peer = server.recvfrom(512)
                end = query.index(0, 12) + 1
                kind, = struct.unpack("!H", query[end:end + 2])
                code = 3 if b"missing" in query else 2 if b"broken" in query else 0
                data = {1: socket.inet_aton("10.9.0.1"), 28: socket.inet_pton(socket.AF_INET6, "fd09::2")}.get(kind)
                answer = b"" if code or not data else struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(data)) + data
                head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, 1 if answer else 0, 0, 0)
                server.sendto(head + query[12:end + 4] + answer, peer)
        threading.Thread(target=serve, daemon=True).start()
        hub = socket.create_server(("10.9.0.1", 443))
        threading.Thread(target=lambda: [hub.accept()[0].close() for _ in range(9)], daemon=True).start()
        sys.exit(subprocess.run([program] + arguments).returncode)
        """

    private func doctor(_ bench: Workbench, host: String) async throws -> [String: JSON] {
        let script = bench.folder.appending(path: "stage.py")
        try Self.stage.write(to: script, atomically: true, encoding: .utf8)
        let rootless = geteuid() == 0 ? [] : ["--map-root-user"]
        let answer = try await run(
            "/usr/bin/unshare",
            rootless + [
                "--net", "--mount", "--propagation", "private", "/usr/bin/python3", script.path, bench.folder.path,
                Program.binaries.appending(path: "edge-agent").path, "doctor", "--json", "--hub", "https://\(host)",
                "--state-dir", bench.folder.appending(path: "none").path,
            ],
            in: bench.folder
        )
        let start = try #require(answer.text.firstIndex(of: "{"), "\(answer.text)")
        let checks = try JSON(parsing: String(answer.text[start...]))["checks"].array
        return Dictionary(uniqueKeysWithValues: checks.map { ($0["name"].string ?? "", $0) })
    }

    @Test("a name that does not exist is told from a name server that fails")
    func failures() async throws {
        let bench = try Workbench()
        let missing = try await doctor(bench, host: "missing.test")["dns"]
        #expect(
            missing?["status"] == "FAIL" && missing?["detail"].string?.contains("does not exist") == true,
            "\(missing ?? "")"
        )
        let broken = try await doctor(bench, host: "broken.test")["dns"]
        #expect(
            broken?["status"] == "FAIL" && broken?["detail"].string?.contains("name server did not say") == true,
            "\(broken ?? "")"
        )
    }

    @Test("an IPv6 address on which nobody answers does not keep the agent from the IPv4 one")
    func blackholedFamily() async throws {
        let checks = try await doctor(try Workbench(), host: "hub.test")
        let addresses = checks["dns"]?["detail"].string ?? ""
        #expect(addresses.contains("fd09::2") && addresses.contains("10.9.0.1"), "\(addresses)")
        #expect(checks["tcp"]?["status"] == "ok", "\(checks)")
        #expect(checks["tcp"]?["detail"].string?.contains("connected to 10.9.0.1:443") == true, "\(checks)")
    }
}
