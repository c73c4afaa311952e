// Command helm-charts lints and renders charts with the packages of Helm, without those that talk to a cluster or a
// registry: it is built in less than half of Helm's time.
//
//	helm-charts lint CHART [VALUES]
//	helm-charts template CHART [VALUES]
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

const release, namespace = "shop", "shop"

var kubernetes = chartutil.KubeVersion{Version: "v1.34.0", Major: "1", Minor: "34"}

func main() {
	if len(os.Args) < 3 {
		exit(2, "usage: helm-charts lint|template CHART [VALUES]")
	}
	values := chartutil.Values{}
	if len(os.Args) > 3 {
		var err error
		if values, err = chartutil.ReadValuesFile(os.Args[3]); err != nil {
			exit(1, err)
		}
	}
	switch os.Args[1] {
	case "lint":
		lintChart(os.Args[2], values)
	case "template":
		renderChart(os.Args[2], values)
	default:
		exit(2, "unknown command: ", os.Args[1])
	}
}

func lintChart(path string, values chartutil.Values) {
	linter := lint.AllWithKubeVersion(path, values, namespace, &kubernetes)
	for _, message := range linter.Messages {
		fmt.Println(message)
	}
	if linter.HighestSeverity >= support.WarningSev {
		os.Exit(1)
	}
}

func renderChart(path string, values chartutil.Values) {
	chart, err := loader.Load(path)
	if err != nil {
		exit(1, err)
	}
	options := chartutil.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = kubernetes
	full, err := chartutil.ToRenderValues(chart, values, options, capabilities)
	if err != nil {
		exit(1, err)
	}
	files, err := engine.Engine{Strict: true}.Render(chart, full)
	if err != nil {
		exit(1, err)
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if strings.HasSuffix(name, ".yaml") && strings.TrimSpace(files[name]) != "" {
			fmt.Printf("---\n# Source: %s\n%s\n", name, files[name])
		}
	}
}

func exit(code int, message ...any) {
	fmt.Fprintln(os.Stderr, message...)
	os.Exit(code)
}
