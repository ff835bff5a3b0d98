// What a program that uses gophercloud (Terraform's provider, Packer, cluster-api) does with images.
//
//	images URL FILE
//
// Ends with a message when an answer is not as expected; leaves nothing.
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/gophercloud/gophercloud"
	"github.com/gophercloud/gophercloud/openstack/imageservice/v2/imagedata"
	"github.com/gophercloud/gophercloud/openstack/imageservice/v2/imageimport"
	"github.com/gophercloud/gophercloud/openstack/imageservice/v2/images"
	"github.com/gophercloud/gophercloud/openstack/imageservice/v2/members"
	"github.com/gophercloud/gophercloud/openstack/imageservice/v2/tasks"
)

var client *gophercloud.ServiceClient

// Ends the program unless what was done succeeded.
func must(what string, err error) {
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
}

// Ends the program unless both are written alike.
func expect(what string, have, want interface{}) {
	if fmt.Sprint(have) != fmt.Sprint(want) {
		log.Fatalf("%s: %v, not %v", what, have, want)
	}
}

func create(name string) *images.Image {
	private := images.ImageVisibilityPrivate
	image, err := images.Create(client, images.CreateOpts{
		Name:            name,
		DiskFormat:      "raw",
		ContainerFormat: "bare",
		Visibility:      &private,
		MinRAM:          64,
		Tags:            []string{"terraform"},
		Properties:      map[string]string{"os_distro": "debian"},
	}).Extract()
	must("create", err)
	expect("status", image.Status, images.ImageStatusQueued)
	expect("properties", image.Properties["os_distro"], "debian")
	return image
}

func download(id string) []byte {
	body, err := imagedata.Download(client, id).Extract()
	must("download", err)
	data, err := io.ReadAll(body)
	must("download", err)
	return data
}

func uploadAndChange(data []byte) {
	image := create("one")
	must("upload", imagedata.Upload(client, image.ID, bytes.NewReader(data)).ExtractErr())
	image, err := images.Get(client, image.ID).Extract()
	must("get", err)
	expect("status", image.Status, images.ImageStatusActive)
	expect("size", image.SizeBytes, len(data))
	image, err = images.Update(client, image.ID, images.UpdateOpts{
		images.ReplaceImageName{NewName: "two"},
		images.ReplaceImageTags{NewTags: []string{"other"}},
		images.UpdateVisibility{Visibility: images.ImageVisibilityShared},
		images.UpdateImageProperty{Op: images.AddOp, Name: "hw_disk_bus", Value: "scsi"},
		images.UpdateImageProperty{Op: images.RemoveOp, Name: "os_distro"},
	}).Extract()
	must("update", err)
	expect("changed", []interface{}{image.Name, image.Tags, image.Properties["hw_disk_bus"]}, "[two [other] scsi]")
	share(image.ID)
	if !bytes.Equal(download(image.ID), data) {
		log.Fatal("what is downloaded is not what was uploaded")
	}
	must("delete", images.Delete(client, image.ID).ExtractErr())
	_, err = images.Get(client, image.ID).Extract()
	if _, gone := err.(gophercloud.ErrDefault404); !gone {
		log.Fatalf("get of what is deleted: %v", err)
	}
}

func share(id string) {
	_, err := members.Create(client, id, "project-b").Extract()
	must("add member", err)
	member, err := members.Update(client, id, "project-b", members.UpdateOpts{Status: "accepted"}).Extract()
	must("accept", err)
	expect("member", member.Status, "accepted")
	pages, err := members.List(client, id).AllPages()
	must("members", err)
	all, err := members.ExtractMembers(pages)
	must("members", err)
	expect("members", len(all), 1)
	must("remove member", members.Delete(client, id, "project-b").ExtractErr())
}

func importStaged(data []byte) {
	image := create("imported")
	must("stage", imagedata.Stage(client, image.ID, bytes.NewReader(data)).ExtractErr())
	method := imageimport.CreateOpts{Name: imageimport.GlanceDirectMethod}
	must("import", imageimport.Create(client, image.ID, method).ExtractErr())
	deadline := time.Now().Add(time.Minute)
	for {
		now, err := images.Get(client, image.ID).Extract()
		must("get", err)
		if now.Status == images.ImageStatusActive {
			break
		}
		if time.Now().After(deadline) {
			log.Fatalf("the import does not end: %v", now.Status)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !bytes.Equal(download(image.ID), data) {
		log.Fatal("what is downloaded is not what was imported")
	}
	pages, err := tasks.List(client, tasks.ListOpts{Type: "api_image_import"}).AllPages()
	must("tasks", err)
	all, err := tasks.ExtractTasks(pages)
	must("tasks", err)
	expect("tasks", len(all), 1)
	must("delete", images.Delete(client, image.ID).ExtractErr())
}

func pages() {
	for i := 0; i < 5; i++ {
		create(fmt.Sprintf("page-%d", i))
	}
	options := images.ListOpts{Limit: 2, Sort: "name:asc", Tags: []string{"terraform"}}
	all, err := images.List(client, options).AllPages()
	must("list", err)
	found, err := images.ExtractImages(all)
	must("list", err)
	expect("images", len(found), 5)
	for i, image := range found {
		expect("order", image.Name, fmt.Sprintf("page-%d", i))
		must("delete", images.Delete(client, image.ID).ExtractErr())
	}
}

func main() {
	log.SetFlags(0)
	provider := &gophercloud.ProviderClient{TokenID: "none"}
	client = &gophercloud.ServiceClient{
		ProviderClient: provider,
		Endpoint:       os.Args[1] + "/",
		ResourceBase:   os.Args[1] + "/v2/",
	}
	data, err := os.ReadFile(os.Args[2])
	must("read", err)
	uploadAndChange(data)
	importStaged(data)
	pages()
}
