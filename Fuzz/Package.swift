// swift-tools-version: 6.2

import PackageDescription

// Fuzz targets under libFuzzer and AddressSanitizer, which ship with Swift. A package of its own, because everything in
// it is compiled with their instrumentation. The modules that lie elsewhere in the repository are symbolic links in
// Sources/. `make test` runs the same targets over Corpus/ and FailCases/ without either (Tests/FuzzReplayTests).

/// Assertions stay on under optimisation: a broken one is a finding.
let ours: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .unsafeFlags(["-sanitize=fuzzer,address", "-enable-testing", "-assert-config", "Debug"]),
]

let package = Package(
    name: "fuzz",
    dependencies: [
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0", traits: [])
    ],
    targets: [
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl"),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib"),
        .systemLibrary(name: "CLinux"),
        .systemLibrary(name: "CFuzzer"),
        .target(name: "WebSocketKitLite", dependencies: ["COpenSSL", "CZlib", "CLinux"], swiftSettings: ours),
        .target(
            name: "WireFormat",
            dependencies: [.product(name: "SwiftProtobuf", package: "swift-protobuf")],
            exclude: ["Schema/node.proto"],
            swiftSettings: ours
        ),
        // Only what reads a bot's output and its log; the whole agent needs more packages than fuzzing should build.
        .target(name: "EdgeAgent", dependencies: ["WireFormat"], swiftSettings: ours),
        .target(name: "TestSupport"),
        .executableTarget(
            name: "Fuzzer",
            dependencies: [
                "CFuzzer", "EdgeAgent", "TestSupport", "WebSocketKitLite", "WireFormat",
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            swiftSettings: ours,
            // The linker that Swift takes otherwise warns about a thousand of the sanitizer's symbols.
            linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])]
        ),
    ],
    swiftLanguageModes: [.v6]
)
